"""The ledger of decisions -> orders at a broker, on paper unless real money is asked for."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.shared import MARKET_SPLIT, params
from flag_kedro.pipelines.trade.nodes import order_decisions


def create_pipeline() -> Pipeline:
    """The trade pipeline."""
    return Pipeline(
        [
            MARKET_SPLIT,
            Node(
                order_decisions,
                inputs=["ledger", "orders", "simulated_orders", "market_split", "policy", *params("trade")],
                outputs="traded",
                name="order_decisions",
            ),
        ]
    )
