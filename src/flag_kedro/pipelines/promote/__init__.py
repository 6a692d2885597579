"""The promote pipeline."""

from flag_kedro.pipelines.promote.pipeline import create_pipeline

__all__ = ["create_pipeline"]
