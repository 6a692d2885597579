"""The source -> the full audit: everything made anew from the source cut at some times."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.audit.nodes import audit_source, gather_market_config, refuse_leaks_from_source
from flag_kedro.pipelines.shared import params


def create_pipeline() -> Pipeline:
    """The audit pipeline; what other pipelines left is neither read nor changed, but for downloads."""
    return Pipeline(
        [
            Node(
                gather_market_config,
                inputs=params("data", "news", "simulated", "files", "yahoo"),
                outputs="market_config",
                name="gather_market_config",
            ),
            Node(
                audit_source,
                inputs=[
                    *("market_config", "yahoo_store"),
                    *params("features", "env", "policy", "ppo", "runtime", "audit", "seed"),
                ],
                outputs="full_audit",
                name="audit_source",
            ),
            Node(refuse_leaks_from_source, inputs="full_audit", outputs=None, name="refuse_leaks_from_source"),
        ]
    )
