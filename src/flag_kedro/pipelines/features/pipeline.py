"""Prices and news -> market states."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.features.nodes import build_features

GROUPS = ("data", "news", "simulated", "features")


def create_pipeline() -> Pipeline:
    """The features pipeline."""
    return Pipeline(
        [
            Node(
                build_features,
                inputs=[
                    "prices",
                    "news",
                    "company_names",
                    "universe",
                    "earlier_market_states",
                    "ingest_facts",
                    *(f"params:{group}" for group in GROUPS),
                ],
                outputs=["market_states", "market_facts"],
                name="build_features",
            )
        ]
    )
