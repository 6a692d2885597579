"""Plots of scores: Sharpe ratios with their intervals, and what other costs would have left."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from flag_kedro.backtest.plot_style import (
    BETWEEN,
    COLORS,
    OTHER_COLOR,
    describe_trading,
    finish,
    in_order,
    name_once,
    strategy_line,
    symbol_panels,
)

INTERVAL_ROW = 22
"""Pixels of one strategy."""


def plot_intervals(backtest_metrics: Mapping[str, Any], inference: Mapping[str, Any]) -> go.Figure:
    """Forest plot: each strategy's Sharpe ratio, and its difference to buy and hold's, with their intervals.

    A full circle marks an interval that excludes 0. Undefined ratios are left out.

    Args:
        backtest_metrics: with `convention` and `results`; intervals as `sharpe_ratio_ci95`.
        inference: with `confidence` and `symbols`; differences as `sharpe_difference`.
    """
    results, symbols = backtest_metrics["results"], list(backtest_metrics["results"])
    names = in_order([name for scores in results.values() for name in scores])
    panel = INTERVAL_ROW * (len(names) + 1)
    height = len(symbols) * panel + (len(symbols) - 1) * BETWEEN
    figure = make_subplots(
        rows=len(symbols),
        cols=2,
        shared_yaxes=True,
        subplot_titles=[title for symbol in symbols for title in (f"{symbol} Sharpe", "less buy and hold")],
        vertical_spacing=BETWEEN / height if len(symbols) > 1 else 0.0,
        horizontal_spacing=0.06,
    )
    figure.update_layout(height=height)
    for row, symbol in enumerate(symbols, start=1):
        for name, scores in results[symbol].items():
            _add_interval(figure, name, scores["sharpe_ratio"], scores.get("sharpe_ratio_ci95"), row, 1)
            if name in inference["symbols"][symbol]:
                difference = inference["symbols"][symbol][name]["sharpe_difference"]
                _add_interval(figure, name, difference["value"], difference["ci95"], row, 2)
    convention = backtest_metrics["convention"]
    subtitle = f"{inference['confidence']:.0%} intervals; {convention['name']}, {describe_trading(convention)}"
    finish(figure, "Sharpe ratio, and how far from buy and hold", subtitle)
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(zeroline=True, zerolinecolor=OTHER_COLOR, zerolinewidth=1.5, nticks=6)
    for column, axis in ((1, "x"), (2, "x2")):  # one scale down each column
        figure.update_xaxes(matches=axis, col=column)
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1], range=[-0.6, len(names) - 0.4], nticks=0)
    return figure


def _add_interval(
    figure: go.Figure, name: str, value: float | None, interval: list[float] | None, row: int, column: int
) -> None:
    """One trace: low end, value and high end; the value alone where there is no interval."""
    if value is None:
        return
    low, high = interval or (value, value)
    has_interval = interval is not None
    excludes_zero = has_interval and (low > 0 or high < 0)
    points = [low, value, high] if has_interval else [value]
    middle = "circle" if excludes_zero else "circle-open"
    style = strategy_line(name)
    figure.add_scatter(
        x=points,
        y=[name] * len(points),
        name=name,
        mode="lines+markers",
        showlegend=False,
        line={"color": style["line"]["color"], "width": style["line"]["width"]},
        marker={
            "symbol": ["line-ns-open", middle, "line-ns-open"] if has_interval else [middle],
            "size": [8, 10, 8] if has_interval else [10],
            "line": {"width": 2},
            "color": COLORS.get(name, OTHER_COLOR),
        },
        hovertemplate="%{x:.2f}",
        row=row,
        col=column,
    )


def plot_cost_curve(sensitivity: Mapping[str, Any], convention: Mapping[str, Any]) -> go.Figure:
    """Cumulative return of every strategy's same decisions at other costs, one panel per symbol.

    Args:
        sensitivity: with `cost_bps` and, for each symbol and strategy, `cost_curve` (sums of log returns).
        convention: of `scores.describe_convention`, convention `account`.
    """
    symbols = sensitivity["symbols"]
    figure, cells = symbol_panels(list(symbols))
    for symbol, cell in cells.items():
        for strategy, sensitivities in symbols[symbol].items():
            figure.add_scatter(
                x=sensitivity["cost_bps"],
                y=sensitivities["cost_curve"],
                mode="lines+markers",
                marker={"size": 5},
                **strategy_line(strategy),
                **cell,
            )
    name_once(figure)
    figure.update_yaxes(tickformat=".0%", hoverformat=".2%")
    figure.update_xaxes(tickvals=sensitivity["cost_bps"])
    first, last = convention["window"]
    subtitle = f"sum of daily log returns over basis points a trade, {first} to {last}; fill {convention['fill']}"
    return finish(figure, "Cumulative return at other costs", subtitle)
