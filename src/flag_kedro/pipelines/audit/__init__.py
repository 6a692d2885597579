"""The audit pipeline."""

from flag_kedro.pipelines.audit.pipeline import create_pipeline

__all__ = ["create_pipeline"]
