"""The certify pipeline."""

from flag_kedro.pipelines.certify.pipeline import create_pipeline

__all__ = ["create_pipeline"]
