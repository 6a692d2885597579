"""Prices, news and a trained policy -> what its backbone may know, what it recalls, and what the policy uses."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.contamination import nodes
from flag_kedro.pipelines.shared import ASKED_MODELS, MARKET_SPLIT, MARKET_TABLES, STRATEGIES, params


def create_pipeline() -> Pipeline:
    """The contamination pipeline."""
    return Pipeline(
        [
            MARKET_TABLES,
            MARKET_SPLIT,
            ASKED_MODELS,
            STRATEGIES,
            Node(
                nodes.check_policy,
                inputs=["market_split", "policy"],
                outputs="policy_description",
                name="check_policy",
            ),
            Node(
                nodes.compare_cutoff,
                inputs=["policy_description", "market_split", "params:contamination"],
                outputs="knowledge",
                name="compare_cutoff",
            ),
            Node(
                nodes.probe_memory,
                inputs=[
                    *("policy_description", "market_tables", "market_split", "backbone", "policy"),
                    *params("contamination", "runtime", "seed"),
                ],
                outputs=["memorisation", "recall_answers"],
                name="probe_memory",
            ),
            Node(
                nodes.compare_sides,
                inputs=[
                    *("policy_description", "market_split", "strategies", "recall_answers"),
                    *params("contamination", "backtest", "seed"),
                ],
                outputs="before_after",
                name="compare_sides",
            ),
            Node(
                nodes.replay_ablations,
                inputs=[
                    *("policy_description", "market_tables", "market_split", "strategies"),
                    *params("backtest", "seed"),
                ],
                outputs="modalities",
                name="replay_ablations",
            ),
            Node(
                nodes.report_contamination,
                inputs=["knowledge", "memorisation", "before_after", "modalities"],
                outputs="contamination",
                name="report_contamination",
            ),
        ]
    )
