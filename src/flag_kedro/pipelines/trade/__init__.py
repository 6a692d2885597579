"""The trade pipeline."""

from flag_kedro.pipelines.trade.pipeline import create_pipeline

__all__ = ["create_pipeline"]
