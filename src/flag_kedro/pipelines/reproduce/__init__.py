"""The reproduce pipeline."""

from flag_kedro.pipelines.reproduce.pipeline import create_pipeline

__all__ = ["create_pipeline"]
