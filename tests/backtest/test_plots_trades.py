"""Markers, shades and probabilities of `six_sessions`."""

from datetime import date
from typing import Any

import polars as pl
import pytest

from flag_kedro.backtest.plots_trades import SHADES, plot_probabilities, plot_trades
from flag_kedro.errors import DataError

SixSessions = tuple[pl.DataFrame, pl.DataFrame, dict[str, pl.DataFrame]]


def day(number: int) -> date:
    return date(2024, 1, number)


def test_markers_stand_where_and_at_what_trades_filled(
    six_sessions: SixSessions, account_convention: dict[str, Any]
) -> None:
    figure = plot_trades(*six_sessions, account_convention)
    close, buys, sells = figure.data[:3]
    assert (close.name, list(close.y)) == ("close", [10.0, 8.0, 9.0, 12.0, 16.0, 20.0])
    assert (buys.name, list(buys.x), list(buys.y)) == ("buy", [day(2), day(6)], [9.0, 18.0])
    assert list(buys.customdata) == ["2024-01-01", "2024-01-05"]
    assert (sells.name, list(sells.x), list(sells.y)) == ("sell", [day(4)], [10.0])
    assert figure.layout.title.text.startswith("Trades of flag_trader")


def test_stretches_are_shaded_by_side_on_their_own_panel(
    six_sessions: SixSessions, account_convention: dict[str, Any]
) -> None:
    shapes = plot_trades(*six_sessions, account_convention).layout.shapes
    assert [(shape.xref, shape.fillcolor, shape.x0, shape.x1) for shape in shapes] == [
        ("x", SHADES[1], day(2), day(4)),
        ("x", SHADES[-1], day(4), day(6)),
        ("x", SHADES[1], day(6), day(6)),
        ("x2", SHADES[1], day(2), day(4)),
    ]


def test_the_price_goes_on_where_a_ruined_account_ends(
    six_sessions: SixSessions, account_convention: dict[str, Any]
) -> None:
    decisions, equity, states = six_sessions
    ruined = (pl.col("strategy") == "flag_trader") & (pl.col("session") > day(4))
    early = decisions.filter(~(ruined | (pl.col("session") == day(4))))
    figure = plot_trades(early, equity.filter(~ruined), states, account_convention)
    assert list(figure.data[0].x)[-1] == day(6)
    assert max(shape.x1 for shape in figure.layout.shapes) == day(4)


def test_both_markers_are_in_the_legend_when_the_first_symbol_was_never_sold(
    six_sessions: SixSessions, account_convention: dict[str, Any]
) -> None:
    decisions, equity, states = six_sessions
    bought = pl.col("symbol").eq("A") & pl.col("strategy").eq("flag_trader")
    position = pl.when(bought).then(pl.col("session").gt(day(1)).cast(pl.Int64)).otherwise("position")
    figure = plot_trades(
        decisions.with_columns(position=position), equity.with_columns(position=position), states, account_convention
    )
    assert [trace.name for trace in figure.data if trace.showlegend] == ["close", "buy", "sell"]


def test_probabilities_are_those_of_the_decisions(
    six_sessions: SixSessions, account_convention: dict[str, Any]
) -> None:
    sell, hold, buy = plot_probabilities(six_sessions[0], account_convention).data[:3]
    assert [trace.name for trace in (sell, hold, buy)] == ["sell", "hold", "buy"]
    assert list(sell.y) == [0.1, 0.25, 0.9, 0.25, 0.1, 0.25]
    assert list(buy.y) == [0.7, 0.25, 0.0, 0.25, 0.7, 0.25]
    assert {trace.stackgroup for trace in (sell, hold, buy)} == {"actions"}


def test_a_rule_without_probabilities_is_refused(six_sessions: SixSessions, account_convention: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="buy_and_hold has decisions without probabilities"):
        plot_probabilities(six_sessions[0], account_convention, "buy_and_hold")
