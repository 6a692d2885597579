"""The events pipeline."""

from flag_kedro.pipelines.events.pipeline import create_pipeline

__all__ = ["create_pipeline"]
