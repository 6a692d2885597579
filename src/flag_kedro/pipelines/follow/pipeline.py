"""The ledger and newer market states -> what came of the decisions."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.follow.nodes import follow_decisions
from flag_kedro.pipelines.shared import MARKET_SPLIT, params


def create_pipeline() -> Pipeline:
    """The follow pipeline."""
    return Pipeline(
        [
            MARKET_SPLIT,
            Node(
                follow_decisions,
                inputs=["ledger", "market_split", "equity", "report_facts", "policy", *params("backtest", "seed")],
                outputs="forward_test",
                name="follow_decisions",
            ),
        ]
    )
