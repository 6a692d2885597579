"""The follow pipeline."""

from flag_kedro.pipelines.follow.pipeline import create_pipeline

__all__ = ["create_pipeline"]
