"""Prices and news -> market states."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.features.nodes import build_features


def create_pipeline() -> Pipeline:
    """The features pipeline."""
    return Pipeline(
        [
            Node(
                build_features,
                inputs=["prices", "news", "params:features"],
                outputs="market_states",
                name="build_features",
            )
        ]
    )
