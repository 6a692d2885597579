"""Plots of a backtest."""

import math
from typing import Any

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

COLORS = {"flag_trader": "#0b6e4f", "buy_and_hold": "#d1495b", "random": "#9a9a9a", "flat": "#c8c8c8"}
COLUMNS = 2


def plot_equity(equity: pl.DataFrame, convention: dict[str, Any]) -> go.Figure:
    """Equity of every strategy, 1 at the window's start, one panel per symbol.

    Args:
        equity: columns of `replay.EQUITY`.
        convention: of `metrics.describe_convention`; printed above.
    """
    symbols = equity["symbol"].unique(maintain_order=True).to_list()
    columns = min(COLUMNS, len(symbols))
    rows = math.ceil(len(symbols) / columns)
    figure = make_subplots(rows=rows, cols=columns, subplot_titles=symbols, vertical_spacing=0.25 / rows)
    for index, symbol in enumerate(symbols):
        row, column = divmod(index, columns)
        for (strategy,), path in equity.filter(pl.col("symbol") == symbol).group_by("strategy", maintain_order=True):
            name = str(strategy)
            figure.add_scatter(
                x=path["session"].to_list(),
                y=(path["equity"] / path["equity"][0]).to_list(),
                name=name,
                legendgroup=name,
                showlegend=index == 0,
                line={"color": COLORS.get(name), "width": 2.5 if name == "flag_trader" else 1.5},
                row=row + 1,
                col=column + 1,
            )
    first, last = convention["window"]
    trades = f"fill {convention['fill']}, {convention['cost_bps'] + convention['slippage_bps']:g} bp a trade"
    figure.update_layout(
        title={"text": f"Equity on the test window<br><sup>{first} to {last}; {trades}</sup>"},
        template="plotly_white",
        height=150 + 260 * rows,
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 1.0, "xanchor": "right"},
        margin={"t": 110, "l": 50, "r": 20, "b": 40},
    )
    figure.update_yaxes(tickformat=".2f")
    return figure
