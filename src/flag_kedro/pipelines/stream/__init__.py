"""The stream pipeline."""

from flag_kedro.pipelines.stream.pipeline import create_pipeline

__all__ = ["create_pipeline"]
