"""Prices, news and a trained policy -> how far hostile headlines mislead it."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.robustness import nodes
from flag_kedro.pipelines.shared import ASKED_MODELS, MARKET_SPLIT, MARKET_TABLES, STRATEGIES, params


def create_pipeline() -> Pipeline:
    """The robustness pipeline."""
    return Pipeline(
        [
            MARKET_TABLES,
            MARKET_SPLIT,
            ASKED_MODELS,
            STRATEGIES,
            Node(
                nodes.try_headlines,
                inputs=["market_tables", "market_split", "strategies", *params("robustness", "seed")],
                outputs="robustness",
                name="try_headlines",
            ),
            Node(nodes.refuse_forgeries, inputs="robustness", outputs=None, name="refuse_forgeries"),
        ]
    )
