"""A portfolio through time: equity beside the rules, and how its weights moved."""

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from flag_kedro.backtest.plot_style import COLORS, GRID, OTHER_COLOR, SUBTITLE
from flag_kedro.backtest.portfolio_rules import (
    EQUAL_WEIGHT,
    HINDSIGHT,
    INVERSE_VOLATILITY,
    MEAN_VARIANCE,
    MINIMUM_VARIANCE,
)
from flag_kedro.names import BENCHMARK, POLICY

SHADES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8d6cc4", "#a8762d", "#4f6b00", "#b3123f")
RULES = {
    BENCHMARK: COLORS[BENCHMARK],
    EQUAL_WEIGHT: "#8d6cc4",
    INVERSE_VOLATILITY: "#009e73",
    MINIMUM_VARIANCE: "#cc79a7",
    MEAN_VARIANCE: "#e69f00",
    HINDSIGHT: "#ababab",
}


def plot_portfolio(weights: pl.DataFrame, equity: pl.DataFrame, market: str) -> go.Figure:
    """Equity of every strategy above, the policy's weights at each close below, cash the rest.

    Args:
        weights: columns of `portfolio_replay.WEIGHTS`.
        equity: columns of `replay.EQUITY`.
        market: printed below the title.
    """
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08, row_heights=[0.5, 0.5])
    for (strategy,), path in equity.group_by("strategy", maintain_order=True):
        name = str(strategy)
        grown = 100.0 * path["equity"] / path["equity"][0]
        line = {
            "color": COLORS[POLICY] if name == POLICY else RULES.get(name, OTHER_COLOR),
            "width": 2.5 if name == POLICY else 1.5,
        }
        figure.add_scatter(x=path["session"].to_list(), y=grown.to_list(), name=name, line=line, row=1, col=1)
    own = weights.filter(pl.col("strategy") == POLICY)
    for at, ((symbol,), rows) in enumerate(own.group_by("symbol", maintain_order=True)):
        color = SHADES[at % len(SHADES)]
        figure.add_scatter(
            x=rows["session"].to_list(), y=(100.0 * rows["weight"]).to_list(), name=str(symbol), mode="lines",
            line={"width": 0.5, "color": color}, fillcolor=color, stackgroup="weights", row=2, col=1,
        )  # fmt: skip
    figure.update_layout(
        title={"text": f"Portfolio{SUBTITLE}{market}; test window, after costs</sup>"},
        template="plotly_white", height=620, hovermode="x unified", legend={"orientation": "h", "y": -0.08},
        margin={"t": 90, "l": 60, "r": 20, "b": 60},
    )  # fmt: skip
    figure.update_xaxes(gridcolor=GRID, zeroline=False)
    figure.update_yaxes(gridcolor=GRID, zeroline=False)
    figure.update_yaxes(title="equity, start = 100", row=1, col=1)
    figure.update_yaxes(title="weights, % (rest: cash)", row=2, col=1)
    return figure
