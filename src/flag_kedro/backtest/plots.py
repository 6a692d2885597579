"""Plots of a backtest."""

import math
from typing import Any

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

COLORS = {"flag_trader": "#0b6e4f", "buy_and_hold": "#d1495b", "random": "#9a9a9a", "flat": "#c8c8c8"}
DASHES = {"random": "dot", "flat": "dash"}
GRID = "rgba(128, 128, 128, 0.25)"  # seen on white and on kedro-viz's dark page alike
DAY_MS = 86_400_000
DATE_TICKS = [  # month or year only where it changes
    {"dtickrange": [None, 14 * DAY_MS], "value": "%-d\n%b %Y"},
    {"dtickrange": ["M1", "M12"], "value": "%b\n%Y"},
    {"dtickrange": ["M12", None], "value": "%Y"},
]
COLUMNS = 2
TOP, PANEL, BETWEEN, BOTTOM = 100, 190, 70, 100
"""Heights in pixels: title, panel, space between two panels, dates and legend."""


def plot_equity(equity: pl.DataFrame, convention: dict[str, Any]) -> go.Figure:
    """Equity of every strategy, 1 at the window's start, one panel per symbol.

    Args:
        equity: columns of `replay.EQUITY`.
        convention: of `metrics.describe_convention`; printed above.
    """
    symbols = equity["symbol"].unique(maintain_order=True).to_list()
    columns = min(COLUMNS, len(symbols))
    rows = math.ceil(len(symbols) / columns)
    height = rows * PANEL + (rows - 1) * BETWEEN
    figure = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=symbols,
        vertical_spacing=BETWEEN / height,
        horizontal_spacing=0.12 if columns > 1 else 0.0,
    )
    for index, symbol in enumerate(symbols):
        row, column = divmod(index, columns)
        for (strategy,), path in equity.filter(pl.col("symbol") == symbol).group_by("strategy", maintain_order=True):
            name = str(strategy)
            figure.add_scatter(
                x=path["session"].to_list(),
                y=(path["equity"] / path["equity"][0]).to_list(),
                mode="lines",
                name=name,
                legendgroup=name,
                showlegend=index == 0,
                line={
                    "color": COLORS.get(name),
                    "dash": DASHES.get(name, "solid"),
                    "width": 2.5 if name == "flag_trader" else 1.5,
                },
                row=row + 1,
                col=column + 1,
            )
    first, last = convention["window"]
    trades = f"fill {convention['fill']}, {convention['cost_bps'] + convention['slippage_bps']:g} bp a trade"
    figure.update_layout(
        title={"text": f"Equity on the test window, 1 at its start<br><sup>{first} to {last}; {trades}</sup>"},
        template="plotly_white",
        height=TOP + height + BOTTOM,
        hovermode="x unified",
        legend={
            "orientation": "h",
            "traceorder": "normal",
            "x": 0.0,
            "y": 0.0,
            "yref": "container",
            "yanchor": "bottom",
        },
        margin={"t": TOP, "l": 45, "r": 20, "b": BOTTOM},
    )
    figure.update_annotations(font_size=13)
    figure.update_xaxes(gridcolor=GRID, zeroline=False, tickangle=0, tickformatstops=DATE_TICKS)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, nticks=6, hoverformat=".3f")
    return figure
