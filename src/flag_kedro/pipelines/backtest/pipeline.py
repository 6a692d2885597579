"""Market states and a policy -> decisions, equity, metrics, tests, the causality audit, plots and the report."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.backtest import audit_nodes, nodes, report_nodes

POLICIES = ["backbone", "policy", "text_baseline", "sb3_baseline", "trunk_cache"]
JUDGED = ["decisions", "equity", "market_states"]
FINDINGS = ["backtest_metrics", "backtest_inference", "backtest_sensitivity"]
PLOTS = [
    "equity_plot",
    "drawdown_plot",
    "rolling_sharpe_plot",
    "interval_plot",
    "cost_curve_plot",
    "trades_plot",
    "probabilities_plot",
]


def params(*groups: str) -> list[str]:
    """Kedro's names of parameter groups."""
    return [f"params:{group}" for group in groups]


def create_pipeline() -> Pipeline:
    """The backtest pipeline."""
    return Pipeline(
        [
            Node(
                nodes.replay_strategies,
                inputs=[
                    "prices",
                    "market_states",
                    "market_facts",
                    *POLICIES,
                    *params("data", "news", "simulated", "features", "env", "runtime", "seed"),
                ],
                outputs=["decisions", "equity"],
                name="replay_strategies",
            ),
            Node(
                nodes.score_backtest,
                inputs=[*JUDGED, *params("data", "env", "backtest", "seed")],
                outputs="backtest_metrics",
                name="score_backtest",
            ),
            Node(
                nodes.sensitivity_of_backtest,
                inputs=["decisions", "market_states", *params("data", "env")],
                outputs="backtest_sensitivity",
                name="sensitivity_of_backtest",
            ),
            Node(
                nodes.compare_backtest,
                inputs=[*JUDGED, "policy", *params("data", "env", "backtest", "seed")],
                outputs="backtest_inference",
                name="compare_backtest",
            ),
            Node(
                audit_nodes.audit_backtest,
                inputs=[
                    "decisions",
                    "equity",
                    "prices",
                    "news",
                    "company_names",
                    "universe",
                    "market_states",
                    *POLICIES,
                    *params("data", "features", "env", "backtest", "runtime", "seed"),
                ],
                outputs="causality_audit",
                name="audit_backtest",
            ),
            Node(
                report_nodes.draw_plots,
                inputs=["decisions", "equity", *FINDINGS, "market_states"],
                outputs=PLOTS,
                name="draw_plots",
            ),
            Node(
                report_nodes.write_backtest_report,
                inputs=["decisions", "equity", *FINDINGS, "causality_audit", "market_states", "policy", "data_report"],
                outputs="backtest_report",
                name="write_backtest_report",
            ),
            Node(
                audit_nodes.refuse_leaks,
                inputs=["causality_audit", "backtest_report"],
                outputs=None,
                name="refuse_leaks",
            ),
        ]
    )
