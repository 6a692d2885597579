"""The publish pipeline."""

from flag_kedro.pipelines.publish.pipeline import create_pipeline

__all__ = ["create_pipeline"]
