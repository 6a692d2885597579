"""Plots of the paths that strategies took: equity, drawdown and rolling Sharpe ratio.

Every function draws one panel per symbol in its table; filter the table for a plot of one symbol.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl

from flag_kedro.backtest.metrics import sharpe_ratio
from flag_kedro.backtest.plot_style import (
    date_axes,
    describe_trading,
    finish,
    name_once,
    strategy_line,
    symbol_panels,
)
from flag_kedro.env.account import Floats

ROLLING_SESSIONS = 63
"""Returns in a rolling Sharpe ratio, a quarter of a year."""


def plot_equity(equity: pl.DataFrame, convention: Mapping[str, Any]) -> go.Figure:
    """Equity of every strategy, 1 at the window's start, one panel per symbol.

    Args:
        equity: columns of `replay.EQUITY`.
        convention: of `scores.describe_convention`, convention `account`; printed above.
    """
    figure = _plot_paths(equity, lambda _, path: (path["equity"] / path["equity"][0]).to_list())
    figure.update_yaxes(hoverformat=".3f")
    return finish(figure, "Equity on the test window, 1 at its start", describe_trading(convention))


def plot_drawdown(equity: pl.DataFrame, convention: Mapping[str, Any]) -> go.Figure:
    """Equity below its running peak as a share of the peak, never above 0; arguments of `plot_equity`."""
    figure = _plot_paths(equity, lambda _, path: (path["equity"] / path["equity"].cum_max() - 1.0).to_list())
    figure.update_yaxes(tickformat=".0%", hoverformat=".2%")
    return finish(figure, "Drawdown from the highest equity so far", describe_trading(convention))


def plot_rolling_sharpe(equity: pl.DataFrame, convention: Mapping[str, Any]) -> go.Figure:
    """Annualised Sharpe ratio of the last 63 returns, or of half the window where that is shorter.

    Args:
        equity: columns of `replay.EQUITY`.
        convention: of `scores.describe_convention`, convention `account`; its `days_per_year` annualises.
    """
    sessions = equity.group_by("symbol").agg(pl.col("session").n_unique())["session"].to_list()
    span = max(2, min(ROLLING_SESSIONS, (min(sessions) - 1) // 2))
    days = convention["days_per_year"]

    def values(symbol: str, path: pl.DataFrame) -> list[float | None]:
        returns = path["log_return"].slice(1).to_numpy()
        return [None, *rolling_sharpe(returns, span, days[symbol])]

    figure = _plot_paths(equity, values)
    figure.update_yaxes(hoverformat=".2f")
    return finish(figure, f"Rolling Sharpe ratio over {span} sessions", describe_trading(convention))


def rolling_sharpe(log_returns: Floats, span: int, days: int) -> list[float | None]:
    """Mean / std (ddof 1) x sqrt(`days`) of each last `span` returns; None before, and where nothing moves.

    Args:
        log_returns: daily, [n].
        span: returns in each ratio, at least 2.
        days: sessions in a year.
    """
    if len(log_returns) < span:
        return [None] * len(log_returns)
    windows = np.lib.stride_tricks.sliding_window_view(log_returns, span)
    ratios = sharpe_ratio(windows, days).tolist()
    return [*[None] * (span - 1), *(None if math.isnan(ratio) else ratio for ratio in ratios)]


def _plot_paths(equity: pl.DataFrame, values: Callable[[str, pl.DataFrame], list[float | None]]) -> go.Figure:
    """One line for each symbol and strategy, of what `values` makes of its rows in `equity`."""
    figure, cells = symbol_panels(equity["symbol"].unique(maintain_order=True).to_list())
    for symbol, cell in cells.items():
        of_symbol = equity.filter(pl.col("symbol") == symbol)
        for (strategy,), path in of_symbol.group_by("strategy", maintain_order=True):
            figure.add_scatter(
                x=path["session"].to_list(),
                y=values(symbol, path),
                mode="lines",
                **strategy_line(str(strategy)),
                **cell,
            )
    name_once(figure)
    date_axes(figure)
    return figure
