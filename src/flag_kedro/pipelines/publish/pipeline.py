"""A policy -> a model hub."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.publish.nodes import publish_policy


def create_pipeline() -> Pipeline:
    """The publish pipeline."""
    inputs = ["policy", "params:publish", "earlier_model_card"]
    return Pipeline([Node(publish_policy, inputs=inputs, outputs=None, name="publish_policy")])
