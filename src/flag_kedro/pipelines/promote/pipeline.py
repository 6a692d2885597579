"""A trained policy -> a version of the registered model, and its champion where the validation window says so."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.promote.nodes import promote_policy
from flag_kedro.pipelines.shared import MARKET_SPLIT, params


def create_pipeline() -> Pipeline:
    """The promote pipeline."""
    return Pipeline(
        [
            MARKET_SPLIT,
            Node(
                promote_policy,
                inputs=["market_split", "backbone", "policy", *params("backtest", "runtime", "seed")],
                outputs="promotion",
                name="promote_policy",
            ),
        ]
    )
