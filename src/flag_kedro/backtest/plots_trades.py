"""Plots of what one strategy did: its trades on the price, its action probabilities through time."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import plotly.graph_objects as go
import polars as pl

from flag_kedro.backtest.plot_style import (
    BUY_COLOR,
    HOLD_COLOR,
    PRICE_COLOR,
    SELL_COLOR,
    date_axes,
    describe_trading,
    finish,
    name_once,
    symbol_panels,
)
from flag_kedro.backtest.trades import STOP, list_trades
from flag_kedro.errors import DataError
from flag_kedro.names import POLICY

MARKERS = {"buy": ("triangle-up", BUY_COLOR), "sell": ("triangle-down", SELL_COLOR), STOP: ("x", HOLD_COLOR)}
SHADES = {1: "rgba(0, 114, 178, 0.16)", -1: "rgba(213, 94, 0, 0.16)"}
PROBABILITIES = {"sell": SELL_COLOR, "hold": HOLD_COLOR, "buy": BUY_COLOR}


def plot_trades(
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    market_states: Mapping[str, pl.DataFrame],
    convention: Mapping[str, Any],
    strategy: str = POLICY,
) -> go.Figure:
    """Closes with a marker where each trade of `strategy` filled, shaded while it was long or short.

    Args:
        decisions: columns of `replay.DECISIONS`.
        equity: columns of `replay.EQUITY`.
        market_states: columns of `features.market_state.MARKET_STATE` for each symbol.
        convention: of `scores.describe_convention`, convention `account`; its `fill` places the markers.
        strategy: whose; the others are not read.
    """
    trades = list_trades(decisions, equity, market_states, convention["fill"], strategy)
    paths = equity.filter(pl.col("strategy") == strategy)
    figure, cells = symbol_panels(paths["symbol"].unique(maintain_order=True).to_list())
    shapes: list[dict[str, Any]] = []
    for index, (symbol, cell) in enumerate(cells.items()):
        path = paths.filter(pl.col("symbol") == symbol)
        window = equity.filter(pl.col("symbol") == symbol)  # the path of a ruined account may be shorter
        marks = market_states[symbol].join(window, on="session", how="semi").sort("session")
        _add_line(figure, marks["session"].to_list(), marks["mark_price"].to_list(), cell)
        symbol_trades = trades.filter(symbol=symbol)
        for (action,), same in symbol_trades.group_by("action", maintain_order=True):
            _add_markers(figure, same, str(action), cell)
        shapes += _shades(symbol_trades, path["session"][-1], "" if index == 0 else str(index + 1))
    figure.update_layout(shapes=shapes)
    name_once(figure)
    date_axes(figure)
    subtitle = f"shaded blue while long, orange while short; {describe_trading(convention)}"
    return finish(figure, f"Trades of {strategy} on the adjusted price", subtitle).update_layout(hovermode="closest")


def _add_line(figure: go.Figure, sessions: list[Any], prices: list[float], cell: dict[str, int]) -> None:
    line = {"color": PRICE_COLOR, "width": 1.5}
    figure.add_scatter(x=sessions, y=prices, mode="lines", name="close", legendgroup="close", line=line, **cell)


def _add_markers(figure: go.Figure, trades: pl.DataFrame, action: str, cell: dict[str, int]) -> None:
    symbol, color = MARKERS[action]
    marker = {"symbol": symbol, "color": color, "size": 9, "line": {"color": "white", "width": 1}}
    figure.add_scatter(
        x=trades["filled"].to_list(),
        y=trades["price"].to_list(),
        customdata=trades["decided"].cast(pl.String).to_list(),
        mode="markers",
        name=action,
        legendgroup=action,
        marker=marker,
        hovertemplate="filled %{x} at %{y:.2f}, decided %{customdata}",
        **cell,
    )


def _shades(trades: pl.DataFrame, last: date, axis: str) -> list[dict[str, Any]]:
    """A rectangle from the fill that opened each position to the next fill, or to the `last` session."""
    stretches = trades.with_columns(until=pl.col("filled").shift(-1, fill_value=last)).filter(pl.col("after") != 0)
    return [
        {
            "type": "rect",
            "layer": "below",
            "line": {"width": 0},
            "fillcolor": SHADES[stretch["after"]],
            "x0": stretch["filled"],
            "x1": stretch["until"],
            "y0": 0,
            "y1": 1,
            "xref": f"x{axis}",
            "yref": f"y{axis} domain",
        }
        for stretch in stretches.iter_rows(named=True)
    ]


def plot_probabilities(decisions: pl.DataFrame, convention: Mapping[str, Any], strategy: str = POLICY) -> go.Figure:
    """The three action probabilities of `strategy` at each decision, stacked to 1.

    Args:
        decisions: columns of `replay.DECISIONS`.
        convention: of `scores.describe_convention`.
        strategy: whose; the others are not read.

    Raises:
        DataError: when the strategy decides without probabilities.
    """
    decided = decisions.filter(pl.col("strategy") == strategy)
    columns = [f"prob_{action}" for action in PROBABILITIES]
    if decided.select(pl.any_horizontal(pl.col(columns).is_null()).any()).item():
        raise DataError(f"{strategy} has decisions without probabilities; draw a strategy that gives them")
    figure, cells = symbol_panels(decided["symbol"].unique(maintain_order=True).to_list())
    for symbol, cell in cells.items():
        path = decided.filter(pl.col("symbol") == symbol)
        for action, color in PROBABILITIES.items():
            figure.add_scatter(
                x=path["session"].to_list(),
                y=path[f"prob_{action}"].to_list(),
                name=action,
                legendgroup=action,
                stackgroup="actions",
                mode="lines",
                line={"width": 0, "shape": "hvh"},
                fillcolor=color,
                **cell,
            )
    name_once(figure)
    date_axes(figure)
    figure.update_yaxes(range=[0, 1], hoverformat=".3f")
    first, last = convention["window"]
    subtitle = f"{first} to {last}; an illegal action has probability 0"
    return finish(figure, f"Action probabilities of {strategy}", subtitle)
