"""The ledger explains every account that filled at the right prices, and no other."""

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from flag_kedro.backtest.fill_check import check_fills
from flag_kedro.backtest.replay import DECISIONS, EQUITY, replay
from flag_kedro.data.schema import PRICES
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.states import Decisions, States
from flag_kedro.env.window import cut_window
from flag_kedro.features.market_state import build_market_states

WINDOW = (date(2023, 7, 3), date(2023, 9, 29))
Tables = tuple[pl.DataFrame, pl.DataFrame]


@pytest.fixture(scope="module")
def prices() -> pl.DataFrame:
    """Adjusted for a dividend in the window: until then every adjusted price is 3 % below the price."""
    config = SimulatedConfig(market="easy", first_session=WINDOW[0], last_session=WINDOW[1])
    table = simulate_market(("ALDR", "BRIX"), config, seed=0).prices
    early = pl.col("session") < date(2023, 8, 15)
    return table.with_columns(adj_close=pl.when(early).then(0.97 * pl.col("close")).otherwise(pl.col("close")))


@pytest.fixture(scope="module")
def states(prices: pl.DataFrame) -> Mapping[str, pl.DataFrame]:
    no_news = pl.DataFrame(
        schema={"symbol": pl.String, "available_at": pl.Datetime("us", "UTC"), "headline": pl.String}
    )
    return build_market_states(prices, no_news, digest_sessions=1, digest_chars=100, article_chars=50)[0]


def traded(states: Mapping[str, pl.DataFrame], env: EnvConfig, num_trades: int = 20) -> Tables:
    """Decisions and equity of a rule that asks for something at random."""
    rng = np.random.default_rng(num_trades)

    def decide(asked: States) -> Decisions:
        wanted = np.where(rng.random(len(asked)) < num_trades / 60, rng.choice([0, 2], len(asked)), 1)
        return Decisions(np.where(asked.action_mask[np.arange(len(asked)), wanted], wanted, 1))

    played = replay("random", cut_window(states, WINDOW, env.fill, positions=env.positions), env, decide)
    return played.decisions, played.equity


SETTINGS = [
    EnvConfig(),
    EnvConfig(fill="next_close", cash_rate=0.05),
    EnvConfig(fill="same_close", positions="long_short", borrow_bps_year=900.0, cash_rate=0.05),
    EnvConfig(positions="long_short", borrow_bps_year=900.0, cash_rate=0.05, cost_bps=80.0),
    EnvConfig(cost_bps=0.0, slippage_bps=0.0),
    EnvConfig(max_participation=0.3, initial_cash=1e8),
    EnvConfig(max_participation=0.3, initial_cash=1e8, positions="long_short", fill="same_close", cash_rate=0.05),
    EnvConfig(max_drawdown_stop=0.03, cash_rate=0.05),
    EnvConfig(max_drawdown_stop=0.03, positions="long_short", fill="same_close", borrow_bps_year=900.0),
    EnvConfig(max_drawdown_stop=0.03, max_participation=0.3, initial_cash=1e8, fill="next_close"),
]


@pytest.mark.parametrize("env", SETTINGS)
def test_accounts_of_the_environment_are_explained(
    env: EnvConfig, prices: pl.DataFrame, states: Mapping[str, pl.DataFrame]
) -> None:
    decisions, equity = traded(states, env)
    found = check_fills(prices, decisions, equity, env)
    assert found.num_differences == 0, found.differences
    assert found.num_fills > (15 if env.max_drawdown_stop is None else 4)
    assert found.compared == equity.height


@pytest.mark.parametrize("env", SETTINGS[:4])
@pytest.mark.parametrize("other", ["next_open", "next_close", "same_close"])
def test_another_fill_than_the_one_named_is_not_explained(
    env: EnvConfig, other: str, prices: pl.DataFrame, states: Mapping[str, pl.DataFrame]
) -> None:
    decisions, equity = traded(states, env)
    told = replace(env, fill=other)
    found = check_fills(prices, decisions, equity, told)
    assert (found.num_differences == 0) == (other == env.fill)


@pytest.mark.parametrize("name", ["cost_bps", "borrow_bps_year", "cash_rate"])
def test_what_is_not_charged_is_found(name: str, prices: pl.DataFrame, states: Mapping[str, pl.DataFrame]) -> None:
    env = SETTINGS[3]
    decisions, equity = traded(states, env)
    assert check_fills(prices, decisions, equity, replace(env, **{name: 0.0})).num_differences == 2


def test_orders_beyond_the_share_of_volume_are_found(prices: pl.DataFrame, states: Mapping[str, pl.DataFrame]) -> None:
    env = EnvConfig(max_participation=0.3, initial_cash=1e8)
    decisions, equity = traded(states, env)
    found = check_fills(prices, decisions, equity, replace(env, max_participation=0.29))
    assert {difference.what for difference in found.differences} == {"volume"}


@pytest.mark.parametrize("env", SETTINGS[-3:-1])
def test_stops_that_are_not_the_rule_s_are_found(
    env: EnvConfig, prices: pl.DataFrame, states: Mapping[str, pl.DataFrame]
) -> None:
    decisions, equity = traded(states, env)
    for told in (None, 0.015, 0.06):
        assert check_fills(prices, decisions, equity, replace(env, max_drawdown_stop=told)).num_differences > 0
    decisions, equity = traded(states, replace(env, max_drawdown_stop=None))
    assert "stop" in {each.what for each in check_fills(prices, decisions, equity, env).differences}


def test_one_changed_equity_is_named(prices: pl.DataFrame, states: Mapping[str, pl.DataFrame]) -> None:
    decisions, equity = traded(states, EnvConfig())
    changed = pl.col("session") == date(2023, 8, 10)
    more = equity.with_columns(pl.when(changed).then(pl.col("equity") * (1 + 1e-7)).otherwise(pl.col("equity")))
    found = check_fills(prices, decisions, more, EnvConfig())
    assert [(d.what, d.strategy, d.session) for d in found.differences] == [("ledger", "random", "2023-08-10")] * 2


def by_hand(
    closes: list[float],
    opens: list[float],
    actions: list[str],
    equity: list[float],
    traded: list[float],
    held: list[int],
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Tables of one symbol's days from 2 January 2024 on."""
    days = [date(2024, 1, 2) + timedelta(days=k) for k in range(len(closes))]
    at = [datetime.combine(day, datetime.min.time(), UTC) for day in days]
    high = [max(pair) for pair in zip(opens, closes, strict=True)]
    lows = [min(pair) for pair in zip(opens, closes, strict=True)]
    rows = zip(days, opens, high, lows, closes, closes, at, strict=True)
    prices = [("A", day, o, h, low, c, 1e6, adjusted, time) for day, o, h, low, c, adjusted, time in rows]
    acts = [("s", "A", day, action, None, None, None, None, 0) for day, action in zip(days, actions, strict=True)]
    returns = [None, *(math.log(after / before) for before, after in pairwise(equity))]
    columns = zip(days, equity, held, returns, traded, strict=True)
    path = [("s", "A", day, money, side, gain, value, 0.0) for day, money, side, gain, value in columns]
    return (
        pl.DataFrame(prices, schema=PRICES, orient="row"),
        pl.DataFrame(acts, schema=DECISIONS, orient="row"),
        pl.DataFrame(path, schema=EQUITY, orient="row"),
    )


def test_an_account_worked_by_hand_is_explained() -> None:
    """1,000 of cash buy 10 shares at 99 (1 % of 990 are the cost of 9.90, 0.10 is left), sold at 110 less 11."""
    env = EnvConfig(cost_bps=100.0, slippage_bps=0.0, initial_cash=1000.0)
    closes, opens = [98.0, 101.0, 108.0, 107.0], [97.0, 99.0, 102.0, 110.0]
    tables = by_hand(
        closes,
        opens,
        ["buy", "hold", "sell", "hold"],
        [1000.0, 1010.1, 1080.1, 1089.1],
        [0, 990.0, 0, 1100.0],
        [0, 1, 1, 1],
    )
    assert check_fills(*tables, env).num_differences == 0


def test_a_ruined_account_keeps_a_ten_thousandth_and_trades_no_more() -> None:
    """Short 10 shares at 100 without costs; at 210 the loss is 1,100 of 1,000."""
    env = EnvConfig(cost_bps=0.0, slippage_bps=0.0, borrow_bps_year=0.0, initial_cash=1000.0, positions="long_short")
    closes, opens = [100.0, 120.0, 210.0, 50.0], [100.0, 100.0, 130.0, 60.0]
    tables = by_hand(
        closes, opens, ["sell", "hold", "hold", "hold"], [1000.0, 800.0, 0.08, 0.08], [0, 1000.0, 0, 0], [0, -1, -1, 0]
    )
    assert check_fills(*tables, env).num_differences == 0


def test_what_ruin_leaves_earns_no_interest() -> None:
    env = EnvConfig(
        cost_bps=0.0, slippage_bps=0.0, borrow_bps_year=0.0, initial_cash=1000.0, positions="long_short", cash_rate=0.05
    )
    closes, opens = [100.0, 120.0, 210.0, 50.0, 60.0], [100.0, 100.0, 130.0, 60.0, 60.0]
    interest = 1000.0 * (
        1.05 ** (1 / 365) - 1.0
    )  # of the first night; what is short pays none, and its proceeds earn none
    shares = (1000.0 + interest) / 100.0
    first = 2.0 * (1000.0 + interest) - 120.0 * shares
    sides = [0, -1, -1, 0, 0]
    equity = [1000.0, first, 1e-4 * first, 1e-4 * first, 1e-4 * first]
    tables = by_hand(closes, opens, ["sell", *["hold"] * 4], equity, [0, 100.0 * shares, 0, 0, 0], sides)
    assert kinds(tables, env) == set()
    more = [*equity[:4], equity[4] * 1.001]
    assert kinds(by_hand(closes, opens, ["sell", *["hold"] * 4], more, [0, 100.0 * shares, 0, 0, 0], sides), env) == {
        "ledger"
    }


def kinds(tables: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame], env: EnvConfig) -> set[str]:
    return {difference.what for difference in check_fills(*tables, env).differences}


FREE = EnvConfig(cost_bps=0.0, slippage_bps=0.0, initial_cash=1000.0)
CLOSES = OPENS = [100.0, 100.0, 110.0, 121.0]


@pytest.mark.parametrize(
    ("equity", "traded", "held", "found"),
    [
        ([1000.0, 1000.0, 1100.0, 1210.0], [0, 1000.0, 0, 0], [0, 1, 1, 1], set()),
        ([1000.0, 1000.0, 1000.0, 1100.0], [0, 0, 1000.0, 0], [0, 0, 1, 1], {"order"}),  # a day later
        ([1000.0, 1000.0, 1000.0, 1000.0], [0, 0, 0, 0], [0, 0, 0, 0], {"order"}),  # never filled
        ([1000.0, 1000.0, 1200.0, 1420.0], [0, 2000.0, 0, 0], [0, 1, 1, 1], {"leverage"}),
    ],
)
def test_orders_are_filled_when_they_were_asked_for_and_with_what_there_is(
    equity: list[float], traded: list[float], held: list[int], found: set[str]
) -> None:
    assert kinds(by_hand(CLOSES, OPENS, ["buy", "hold", "hold", "hold"], equity, traded, held), FREE) == found


def test_a_short_worth_more_than_the_equity_is_found() -> None:
    env = replace(FREE, positions="long_short", borrow_bps_year=0.0)
    path = [1000.0, 1000.0, 700.0, 370.0]
    tables = by_hand(CLOSES, OPENS, ["sell", "hold", "hold", "hold"], path, [0, 3000.0, 0, 0], [0, -1, -1, -1])
    assert kinds(tables, env) == {"leverage"}


@pytest.mark.parametrize("column", ["log_return", "position"])
def test_columns_that_do_not_follow_from_the_ledger_are_found(
    column: str, prices: pl.DataFrame, states: Mapping[str, pl.DataFrame]
) -> None:
    decisions, equity = traded(states, EnvConfig())
    changed = {"log_return": pl.col("log_return").abs(), "position": 1 - pl.col("position")}[column]
    found = check_fills(
        prices, decisions, equity.with_columns(changed.cast(equity.schema[column]).alias(column)), EnvConfig()
    )
    assert {difference.what for difference in found.differences} == {column}
