"""Market states and a policy -> decisions, equity, metrics and the equity plot."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.backtest.nodes import draw_equity, replay_strategies, score_backtest

GROUPS = ("data", "news", "simulated", "features", "env", "runtime", "seed")


def create_pipeline() -> Pipeline:
    """The backtest pipeline."""
    return Pipeline(
        [
            Node(
                replay_strategies,
                inputs=[
                    "market_states",
                    "market_facts",
                    "backbone",
                    "policy",
                    *(f"params:{group}" for group in GROUPS),
                ],
                outputs=["decisions", "equity"],
                name="replay_strategies",
            ),
            Node(
                score_backtest,
                inputs=[
                    "decisions",
                    "equity",
                    "market_states",
                    "params:data",
                    "params:env",
                    "params:backtest",
                ],
                outputs="backtest_metrics",
                name="score_backtest",
            ),
            Node(
                draw_equity,
                inputs=["equity", "backtest_metrics"],
                outputs=["equity_plot", "equity_page"],
                name="draw_equity",
            ),
        ]
    )
