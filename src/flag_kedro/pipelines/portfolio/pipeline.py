"""Market states -> one account over all symbols, trained by PPO, and held against portfolios of prices alone."""

from kedro.pipeline import Node, Pipeline

from flag_kedro.pipelines.portfolio import nodes
from flag_kedro.pipelines.shared import MARKET_SPLIT, MARKET_TABLES, TRAINING_SETTINGS, params


def create_pipeline() -> Pipeline:
    """The portfolio pipeline."""
    return Pipeline(
        [
            MARKET_TABLES,
            MARKET_SPLIT,
            TRAINING_SETTINGS,
            Node(
                nodes.train_portfolio,
                inputs=[
                    *("market_split", "backbone", "checkpoints", "training_settings"),
                    *params("portfolio", "seed"),
                ],
                outputs=["portfolio_policy", "portfolio_history"],
                name="train_portfolio",
            ),
            Node(
                nodes.open_portfolio,
                inputs=["market_split", "backbone", "portfolio_policy", *params("portfolio", "runtime")],
                outputs="opened_portfolio",
                name="open_portfolio",
            ),
            Node(
                nodes.replay_trained_portfolio,
                inputs=["market_split", "opened_portfolio"],
                outputs=["portfolio_weights", "portfolio_equity"],
                name="replay_trained_portfolio",
            ),
            Node(
                nodes.score_portfolio,
                inputs=[
                    *("portfolio_weights", "portfolio_equity", "market_split"),
                    *params("backtest", "portfolio", "news", "simulated", "seed"),
                ],
                outputs="portfolio_results",
                name="score_portfolio",
            ),
            Node(
                nodes.draw_portfolio,
                inputs=["portfolio_weights", "portfolio_equity", "portfolio_results"],
                outputs="portfolio_plot",
                name="draw_portfolio",
            ),
            Node(
                nodes.audit_portfolio,
                inputs=[
                    *("portfolio_weights", "market_tables", "market_split", "opened_portfolio"),
                    *params("backtest", "seed"),
                ],
                outputs="portfolio_audit",
                name="audit_portfolio",
            ),
            Node(
                nodes.refuse_portfolio_leaks,
                inputs=["portfolio_audit", "portfolio_results"],
                outputs=None,
                name="refuse_portfolio_leaks",
            ),
        ]
    )
