"""The contamination pipeline."""

from flag_kedro.pipelines.contamination.pipeline import create_pipeline

__all__ = ["create_pipeline"]
