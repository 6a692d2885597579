"""Stores of many symbols -> the tables and market states of some."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.select.nodes import select_symbols
from flag_kedro.pipelines.shared import params


def create_pipeline() -> Pipeline:
    """The select pipeline."""
    return Pipeline(
        [
            Node(
                select_symbols,
                inputs=[
                    *("market_store", "state_store", "stream_report"),
                    *params("data", "news", "simulated", "files", "features"),
                ],
                outputs=[
                    *("prices", "news", "universe", "company_names", "data_report", "ingest_facts"),
                    *("market_states", "market_facts"),
                ],
                name="select_symbols",
            ),
        ]
    )
