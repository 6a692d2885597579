"""Source -> prices and news."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.ingest.nodes import ingest_market, update_store

GROUPS = ("data", "news", "simulated", "files", "yahoo")


def create_pipeline() -> Pipeline:
    """The ingest pipeline."""
    return Pipeline(
        [
            Node(
                update_store,
                inputs=["params:data", "params:news", "params:yahoo", "yahoo_store"],
                outputs="download_report",
                name="update_store",
            ),
            Node(
                ingest_market,
                inputs=["download_report", "yahoo_store", *(f"params:{group}" for group in GROUPS)],
                outputs=["prices", "news", "universe", "company_names", "quarantine", "data_report", "ingest_facts"],
                name="ingest_market",
            ),
        ]
    )
