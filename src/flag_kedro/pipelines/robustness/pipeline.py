"""Prices, news and a trained policy -> how far hostile headlines mislead it."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.backtest.pipeline import POLICIES, params
from flag_kedro.pipelines.robustness import nodes

GROUPS = ("data", "news", "simulated", "features", "env", "robustness", "runtime", "seed")


def create_pipeline() -> Pipeline:
    """The robustness pipeline."""
    return Pipeline(
        [
            Node(
                nodes.try_headlines,
                inputs=[
                    "prices",
                    "news",
                    "company_names",
                    "universe",
                    "market_states",
                    "market_facts",
                    *POLICIES,
                    *params(*GROUPS),
                ],
                outputs="robustness",
                name="try_headlines",
            ),
            Node(nodes.refuse_forgeries, inputs="robustness", outputs=None, name="refuse_forgeries"),
        ]
    )
