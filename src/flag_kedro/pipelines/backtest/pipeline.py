"""Market states and a policy -> decisions, equity, metrics, tests, the causality audit, plots and the report."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.backtest import audit_nodes, nodes, report_nodes
from flag_kedro.pipelines.shared import ASKED_MODELS, MARKET_SPLIT, MARKET_TABLES, STRATEGIES, params

REPLAYED = ["decisions", "equity"]
RESULTS = ["backtest_metrics", "backtest_inference", "backtest_sensitivity"]
PLOTS = [
    "equity_plot",
    "drawdown_plot",
    "rolling_sharpe_plot",
    "interval_plot",
    "cost_curve_plot",
    "trades_plot",
    "probabilities_plot",
]


def create_pipeline() -> Pipeline:
    """The backtest pipeline."""
    return Pipeline([MARKET_TABLES, MARKET_SPLIT, ASKED_MODELS, STRATEGIES, *_judging(), *_showing()])


def _judging() -> list[Node]:
    """Nodes that replay, score and test."""
    return [
        Node(
            nodes.replay_strategies,
            inputs=["prices", "market_split", "strategies", "policy"],
            outputs=[*REPLAYED, "backtest_language_models"],
            name="replay_strategies",
        ),
        Node(
            nodes.score_backtest,
            inputs=[
                *(*REPLAYED, "market_split", "backtest_language_models"),
                *params("data", "news", "simulated", "backtest", "seed"),
            ],
            outputs="backtest_metrics",
            name="score_backtest",
        ),
        Node(
            nodes.sensitivity_of_backtest,
            inputs=["decisions", "market_split"],
            outputs="backtest_sensitivity",
            name="sensitivity_of_backtest",
        ),
        Node(
            nodes.compare_backtest,
            inputs=[*REPLAYED, "market_split", "policy", *params("backtest", "seed")],
            outputs="backtest_inference",
            name="compare_backtest",
        ),
        Node(
            audit_nodes.audit_backtest,
            inputs=[
                *(*REPLAYED, "market_tables", "market_split", "strategies", "earlier_full_audit"),
                *params("backtest", "seed"),
            ],
            outputs="causality_audit",
            name="audit_backtest",
        ),
    ]


def _showing() -> list[Node]:
    """Nodes that draw and write, and at last refuse what the audit found."""
    return [
        Node(
            report_nodes.draw_plots,
            inputs=[*REPLAYED, *RESULTS, "market_states"],
            outputs=PLOTS,
            name="draw_plots",
        ),
        Node(
            report_nodes.explain_trades,
            inputs=[*REPLAYED, "market_split", "strategies"],
            outputs="headline_influence",
            name="explain_trades",
        ),
        Node(
            report_nodes.gather_report_facts,
            inputs=["backtest_metrics", "policy", "data_report"],
            outputs="report_facts",
            name="gather_report_facts",
        ),
        Node(
            report_nodes.write_backtest_report,
            inputs=[*REPLAYED, *RESULTS, "causality_audit", "market_states", "headline_influence", "report_facts"],
            outputs="backtest_report",
            name="write_backtest_report",
        ),
        Node(
            report_nodes.write_model_card,
            inputs=["policy", "market_split", "backtest_metrics", "backtest_inference", "causality_audit"],
            outputs="model_card",
            name="write_model_card",
        ),
        Node(
            audit_nodes.refuse_leaks,
            inputs=["causality_audit", "backtest_report"],
            outputs=None,
            name="refuse_leaks",
        ),
    ]
