"""InvestorBench's files -> the published Buy & Hold rows and the audit of the published table."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.reproduce.nodes import (
    audit_published_table,
    draw_published_page,
    read_published_prices,
    rebuild_published_rows,
)


def create_pipeline() -> Pipeline:
    """The reproduce pipeline."""
    return Pipeline(
        [
            Node(
                read_published_prices,
                inputs="params:data",
                outputs=["published_prices", "published_skipped"],
                name="read_published_prices",
            ),
            Node(
                rebuild_published_rows,
                inputs=["published_prices", "published_skipped"],
                outputs="published_rows",
                name="rebuild_published_rows",
            ),
            Node(
                audit_published_table,
                inputs=["published_prices", "published_rows"],
                outputs="published_audit",
                name="audit_published_table",
            ),
            Node(
                draw_published_page,
                inputs=["published_rows", "published_audit"],
                outputs="published_page",
                name="draw_published_page",
            ),
        ]
    )
