"""The report's figures: plots without their own titles, small enough to be kept in one page."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
import polars as pl

from flag_kedro.backtest.plot_style import SUBTITLE
from flag_kedro.backtest.plots import plot_drawdown, plot_equity, plot_rolling_sharpe
from flag_kedro.backtest.plots_scores import plot_cost_curve, plot_intervals
from flag_kedro.backtest.plots_trades import plot_probabilities, plot_trades
from flag_kedro.backtest.pooled import pool_accounts

ABOVE, ABOVE_PANEL_TITLES = 16, 34
BELOW, BELOW_LEGEND = 40, 72
"""Pixels left above and below panels in the page, which prints titles itself."""
TALLER = 60
"""Pixels added to a symbol's panels, so that one hover label holds all strategies."""


@dataclass(frozen=True)
class PageFigure:
    """A figure whose title the page prints itself."""

    title: str
    subtitle: str
    height: int
    """Pixels."""
    figure: dict[str, Any]
    """plotly's `data` and `layout`."""


def overview_figures(
    equity: pl.DataFrame,
    backtest_metrics: Mapping[str, Any],
    inference: Mapping[str, Any],
    convention: Mapping[str, Any],
) -> dict[str, PageFigure]:
    """The account of all symbols, and the intervals of all symbols and strategies.

    Args:
        equity: columns of `replay.EQUITY`, of all symbols.
        backtest_metrics: see `report.write_report`.
        inference: likewise.
        convention: of `scores.describe_convention`, convention `account`.
    """
    account = plot_equity(pool_accounts(equity), convention)
    account.layout.annotations = ()
    account.layout.height += TALLER
    return {
        "account": page_figure(account, ABOVE, BELOW_LEGEND),
        "intervals": page_figure(plot_intervals(backtest_metrics, inference), ABOVE_PANEL_TITLES, BELOW),
    }


def symbol_figures(
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    sensitivity: Mapping[str, Any],
    market_states: Mapping[str, pl.DataFrame],
    convention: Mapping[str, Any],
) -> dict[str, PageFigure]:
    """The page's figures of one symbol by name.

    Those of several strategies have no legend: the page has one for all of them.

    Args:
        decisions: columns of `replay.DECISIONS`, of one symbol.
        equity: columns of `replay.EQUITY`, of the same symbol.
        sensitivity: of that symbol only.
        market_states: columns of `features.market_state.MARKET_STATE` for each symbol.
        convention: of `scores.describe_convention`, convention `account`.
    """
    compared = {
        "equity": plot_equity(equity, convention),
        "drawdown": plot_drawdown(equity, convention),
        "rolling_sharpe": plot_rolling_sharpe(equity, convention),
        "cost_curve": plot_cost_curve(sensitivity, convention),
    }
    for figure in compared.values():
        figure.update_layout(showlegend=False)
    of_policy = {
        "trades": plot_trades(decisions, equity, market_states, convention),
        "probabilities": plot_probabilities(decisions, convention),
    }
    for figure in (compared | of_policy).values():
        figure.layout.annotations = ()  # the section is titled with the symbol
        figure.layout.height += TALLER
    return {name: page_figure(figure, ABOVE, BELOW) for name, figure in compared.items()} | {
        name: page_figure(figure, ABOVE, BELOW_LEGEND) for name, figure in of_policy.items()
    }


def page_figure(figure: go.Figure, above: int, below: int) -> PageFigure:
    """A figure for the page, which prints the title itself and gives all figures one template.

    Args:
        figure: of this package's plots.
        above: pixels above the panels.
        below: pixels below them.
    """
    layout = figure.layout
    title, _, subtitle = layout.title.text.removesuffix("</sup>").partition(SUBTITLE)
    height = layout.height - layout.margin.t - layout.margin.b + above + below
    drawn = json.loads(figure.to_json(), parse_float=_short_float)
    drawn["layout"]["margin"] |= {"t": above, "b": below}
    for attribute in ("title", "template", "height"):
        del drawn["layout"][attribute]
    return PageFigure(title, subtitle, height, drawn)


def share_sessions(figure: dict[str, Any], sessions: list[str]) -> None:
    """Replace the dates of each trace by their number where they are the first of `sessions`; half the bytes."""
    for trace in figure["data"]:
        if trace["x"] == sessions[: len(trace["x"])]:
            trace["x"] = len(trace["x"])


def _short_float(digits: str) -> float:
    """Six significant digits: more than a screen shows, a third of the bytes."""
    return float(f"{float(digits):.6g}")
