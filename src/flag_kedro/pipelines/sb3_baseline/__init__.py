"""The sb3_baseline pipeline."""

from flag_kedro.pipelines.sb3_baseline.pipeline import create_pipeline

__all__ = ["create_pipeline"]
