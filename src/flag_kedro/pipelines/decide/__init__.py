"""The decide pipeline."""

from flag_kedro.pipelines.decide.pipeline import create_pipeline

__all__ = ["create_pipeline"]
