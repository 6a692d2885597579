"""The robustness pipeline."""

from flag_kedro.pipelines.robustness.pipeline import create_pipeline

__all__ = ["create_pipeline"]
