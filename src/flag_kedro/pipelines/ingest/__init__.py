"""The ingest pipeline."""

from flag_kedro.pipelines.ingest.pipeline import create_pipeline

__all__ = ["create_pipeline"]
