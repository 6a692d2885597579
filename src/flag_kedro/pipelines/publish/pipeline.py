"""A policy -> a model hub."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.publish.nodes import publish_policy


def create_pipeline() -> Pipeline:
    """The publish pipeline."""
    return Pipeline([Node(publish_policy, inputs=["policy", "params:publish"], outputs=None, name="publish_policy")])
