"""Trades of `six_sessions`: opens 10, 9, 8, 10, 14, 18 and closes 10, 8, 9, 12, 16, 20."""

from datetime import date

import polars as pl
import pytest

from flag_kedro.backtest.trades import TRADES, list_trades
from flag_kedro.errors import DataError

SixSessions = tuple[pl.DataFrame, pl.DataFrame, dict[str, pl.DataFrame]]


def day(number: int) -> date:
    return date(2024, 1, number)


def test_reversals_earn_from_fill_to_fill_and_the_last_position_to_the_last_mark(six_sessions: SixSessions) -> None:
    trades = list_trades(*six_sessions, "next_open").filter(symbol="A")
    assert trades.select("decided", "filled", "action", "before", "after", "price", "still_open").rows() == [
        (day(1), day(2), "buy", 0, 1, 9.0, False),
        (day(3), day(4), "sell", 1, -1, 10.0, False),
        (day(5), day(6), "buy", -1, 1, 18.0, True),
    ]
    # long 9 -> 10, short 10 -> 18, long 18 -> the close at 20
    assert trades["earned"].to_list() == pytest.approx([1 / 9, -0.8, 1 / 9])
    assert trades["probability"].to_list() == [0.7, 0.9, 0.7]


def test_a_sale_to_flat_tells_what_the_closed_position_made(six_sessions: SixSessions) -> None:
    trades = list_trades(*six_sessions, "next_open").filter(symbol="B")
    assert trades.select("filled", "after", "still_open").rows() == [(day(2), 1, False), (day(4), 0, False)]
    assert trades["earned"].to_list() == pytest.approx([1 / 9, 1 / 9])


@pytest.mark.parametrize(
    ("fill", "filled", "prices"), [("next_close", [2, 4], [8, 12]), ("same_close", [1, 3], [10, 9])]
)
def test_fills_at_closes(fill: str, filled: list[int], prices: list[float], six_sessions: SixSessions) -> None:
    trades = list_trades(*six_sessions, fill).filter(symbol="B")
    assert trades["filled"].to_list() == [day(number) for number in filled]
    assert trades["price"].to_list() == prices


def test_the_trade_that_ruined_the_account_is_listed(six_sessions: SixSessions) -> None:
    """Ruin on the 4th: no decision follows the one of the 3rd, and equity ends."""
    decisions, equity, states = six_sessions
    decisions = decisions.filter(pl.col("session") <= day(3)).with_columns(
        position=pl.lit(0, pl.Int64), action=pl.when(session=day(3)).then(pl.lit("sell")).otherwise(pl.lit("hold"))
    )
    equity = equity.filter(pl.col("session") <= day(4)).with_columns(
        position=pl.when(session=day(4)).then(-1).otherwise(0).cast(pl.Int64)
    )
    trades = list_trades(decisions, equity, states, "next_open").filter(symbol="A")
    assert trades.select("filled", "after", "price", "still_open").rows() == [(day(4), -1, 10.0, True)]
    assert trades["earned"].to_list() == pytest.approx([-0.2])  # short 10 -> 12


def test_a_strategy_that_never_trades_has_an_empty_table(six_sessions: SixSessions) -> None:
    decisions, equity, states = six_sessions
    still = pl.lit(0, pl.Int64)
    none = list_trades(decisions.with_columns(position=still), equity.with_columns(position=still), states, "next_open")
    assert none.schema == pl.Schema(TRADES)
    assert none.height == 0


def test_a_fill_without_a_price_is_refused(six_sessions: SixSessions) -> None:
    decisions, equity, states = six_sessions
    closes_only = {name: table.with_columns(open_price=pl.lit(None, pl.Float64)) for name, table in states.items()}
    with pytest.raises(DataError, match="A 2024-01-02: a trade filled where the market states have no open_price"):
        list_trades(decisions, equity, closes_only, "next_open")
