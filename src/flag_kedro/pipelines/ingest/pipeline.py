"""Source -> prices and news."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.ingest.nodes import ingest_market


def create_pipeline() -> Pipeline:
    """The ingest pipeline."""
    return Pipeline(
        [
            Node(
                ingest_market,
                inputs=["params:data", "params:news", "params:simulated"],
                outputs=["prices", "news", "ingest_facts"],
                name="ingest_market",
            )
        ]
    )
