"""The upload pipeline."""

from flag_kedro.pipelines.upload.pipeline import create_pipeline

__all__ = ["create_pipeline"]
