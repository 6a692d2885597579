"""The walk_forward pipeline."""

from flag_kedro.pipelines.walk_forward.pipeline import create_pipeline

__all__ = ["create_pipeline"]
