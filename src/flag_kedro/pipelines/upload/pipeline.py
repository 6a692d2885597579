"""What MLflow could not be told -> MLflow."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.upload.nodes import send_unsent


def create_pipeline() -> Pipeline:
    """The upload pipeline."""
    return Pipeline([Node(send_unsent, inputs="unsent_calls", outputs=None, name="send_unsent")])
