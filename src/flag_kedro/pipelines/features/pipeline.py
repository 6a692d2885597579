"""Prices and news -> market states."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.features.nodes import build_features
from flag_kedro.pipelines.shared import MARKET_TABLES, params


def create_pipeline() -> Pipeline:
    """The features pipeline."""
    return Pipeline(
        [
            MARKET_TABLES,
            Node(
                build_features,
                inputs=[
                    *("market_tables", "earlier_market_states", "ingest_facts"),
                    *params("data", "news", "simulated"),
                ],
                outputs=["market_states", "market_facts"],
                name="build_features",
            ),
        ]
    )
