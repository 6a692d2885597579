"""The select pipeline."""

from flag_kedro.pipelines.select.pipeline import create_pipeline

__all__ = ["create_pipeline"]
