"""The portfolio pipeline."""

from flag_kedro.pipelines.portfolio.pipeline import create_pipeline

__all__ = ["create_pipeline"]
