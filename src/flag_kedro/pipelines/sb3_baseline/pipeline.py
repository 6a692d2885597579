"""Prices and market states -> an agent of Stable-Baselines3, an optional extra."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.sb3_baseline.nodes import train_sb3_baseline

GROUPS = ("data", "news", "simulated", "features", "env", "runtime", "seed")


def create_pipeline() -> Pipeline:
    """The sb3_baseline pipeline."""
    return Pipeline(
        [
            Node(
                train_sb3_baseline,
                inputs=["prices", "market_states", "market_facts", *(f"params:{group}" for group in GROUPS)],
                outputs="sb3_baseline",
                name="train_sb3_baseline",
            )
        ]
    )
