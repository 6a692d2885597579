"""Prices, news and a trained policy -> what its backbone may know, what it recalls, and what the policy uses."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.backtest.pipeline import POLICIES, params
from flag_kedro.pipelines.contamination import nodes


def create_pipeline() -> Pipeline:
    """The contamination pipeline."""
    return Pipeline(
        [
            Node(
                nodes.check_policy,
                inputs=[
                    "market_states",
                    "market_facts",
                    "policy",
                    *params("data", "news", "simulated", "features", "env"),
                ],
                outputs="policy_description",
                name="check_policy",
            ),
            Node(
                nodes.compare_cutoff,
                inputs=["policy_description", "market_states", *params("data", "contamination")],
                outputs="knowledge",
                name="compare_cutoff",
            ),
            Node(
                nodes.probe_memory,
                inputs=[
                    "policy_description",
                    "prices",
                    "company_names",
                    "market_states",
                    "backbone",
                    "policy",
                    *params("data", "contamination", "runtime", "seed"),
                ],
                outputs="memorisation",
                name="probe_memory",
            ),
            Node(
                nodes.replay_ablations,
                inputs=[
                    "policy_description",
                    "prices",
                    "news",
                    "company_names",
                    "universe",
                    "market_states",
                    *POLICIES,
                    *params("data", "features", "env", "backtest", "runtime", "seed"),
                ],
                outputs="modalities",
                name="replay_ablations",
            ),
            Node(
                nodes.report_contamination,
                inputs=["knowledge", "memorisation", "modalities"],
                outputs="contamination",
                name="report_contamination",
            ),
        ]
    )
