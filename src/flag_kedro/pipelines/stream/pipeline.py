"""Files of any size -> stores of validated tables, and of market states by symbol and year."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.shared import params
from flag_kedro.pipelines.stream.nodes import build_stream, ingest_stream


def create_pipeline() -> Pipeline:
    """The stream pipeline."""
    return Pipeline(
        [
            Node(
                ingest_stream,
                inputs=["market_store", *params("data", "news", "files")],
                outputs="stream_report",
                name="ingest_stream",
            ),
            Node(
                build_stream,
                inputs=["stream_report", "market_store", "state_store", *params("features")],
                outputs="streamed_states",
                name="build_stream",
            ),
        ]
    )
