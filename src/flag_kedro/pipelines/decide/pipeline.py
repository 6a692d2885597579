"""Market states and a trained policy -> what to do now, and why."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.decide.nodes import keep_decisions, take_decisions
from flag_kedro.pipelines.shared import MARKET_SPLIT, params


def create_pipeline() -> Pipeline:
    """The decide pipeline."""
    return Pipeline(
        [
            MARKET_SPLIT,
            Node(
                take_decisions,
                inputs=["prices", "market_split", "backbone", "policy", "ledger", *params("decide", "runtime")],
                outputs="decision",
                name="take_decisions",
            ),
            Node(keep_decisions, inputs=["decision", "ledger"], outputs=None, name="keep_decisions"),
        ]
    )
