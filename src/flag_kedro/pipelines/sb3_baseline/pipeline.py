"""Prices and market states -> an agent of Stable-Baselines3, an optional extra."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.sb3_baseline.nodes import train_sb3_baseline
from flag_kedro.pipelines.shared import MARKET_SPLIT, params


def create_pipeline() -> Pipeline:
    """The sb3_baseline pipeline."""
    return Pipeline(
        [
            MARKET_SPLIT,
            Node(
                train_sb3_baseline,
                inputs=["prices", "market_split", *params("runtime", "seed")],
                outputs="sb3_baseline",
                name="train_sb3_baseline",
            ),
        ]
    )
