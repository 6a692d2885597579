"""Rules with targets known beforehand: what they want, when they know it, and how `follow` asks for it."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flag_kedro.backtest.replay import replay
from flag_kedro.backtest.rules import follow, keep_between, macd_targets, rsi_targets
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.states import States
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.errors import DataError

SELL, HOLD, BUY = 0, 1, 2
FIRST = date(2024, 1, 1)
ALWAYS = (date(2000, 1, 1), date(2099, 1, 1))

Rule = Callable[..., np.ndarray]


def table(marks: Sequence[float]) -> pl.DataFrame:
    days = [FIRST + timedelta(days=t) for t in range(len(marks))]
    decided = [datetime.combine(day, time(21), UTC) for day in days]
    return pl.DataFrame(
        {"session": days, "decided_at": decided, "known_at": decided, "mark_price": np.asarray(marks, dtype=float)}
    ).with_columns(market_text=pl.lit(""), news_text=pl.lit("none"), open_price="mark_price", volume=pl.lit(1.0))


def positions(rule: Rule, marks: Sequence[float], **options: bool) -> list[int]:
    tables = {"A": table(marks)}
    return [int(target) for target in rule(tables, cut_window(tables, ALWAYS, "next_close"), **options)[0]]


def random_walk(num: int, seed: int = 0) -> np.ndarray:
    return 100 * np.exp(np.cumsum(0.02 * np.random.default_rng(seed).standard_normal(num)))


def test_macd_is_long_while_growth_is_steady_and_flat_in_its_warm_up() -> None:
    # The distance of two averages of steady growth grows like the price, so its own average lags below it.
    # Known from the 34th price on: 26 for the slow average and 8 more for the signal line.
    assert positions(macd_targets, 1.01 ** np.arange(80.0)) == [0] * 33 + [1] * 47


@pytest.mark.parametrize(("long_short", "lowest"), [(False, 0), (True, -1)])
def test_macd_leaves_or_goes_short_while_a_fall_grows_steeper(long_short: bool, lowest: int) -> None:
    falling = 1_000 - 0.05 * np.arange(100.0) ** 2
    assert positions(macd_targets, falling, long_short=long_short) == [0] * 33 + [lowest] * 67


def test_macd_crosses_where_averages_of_pandas_do() -> None:
    marks = pd.Series(100 + 10 * np.sin(np.arange(600) * 2 * np.pi / 60) + 0.05 * random_walk(600))
    fast, slow = (marks.ewm(span=span, adjust=False).mean() for span in (12, 26))
    signal = (fast - slow).ewm(span=9, adjust=False).mean()
    held = positions(macd_targets, marks)
    settled = slice(250, None)  # by then the averages' different first values are forgotten
    assert held[settled] == (fast - slow > signal).astype(int).tolist()[settled]
    assert len(set(held[settled])) == 2


def wave() -> list[float]:
    """14 falls of 1, then 40 rises of 1."""
    return [100.0 - t for t in range(15)] + [86.0 + t for t in range(1, 41)]


@pytest.mark.parametrize(("long_short", "lowest"), [(False, 0), (True, -1)])
def test_rsi_buys_below_30_keeps_between_and_leaves_above_70(long_short: bool, lowest: int) -> None:
    # After 14 falls of 1 the mean loss is 1 and the mean gain 0: RSI 0, long at session 14. After k rises of 1 the
    # mean loss is q = (13/14)^k and the mean gain 1 - q, so RSI = 100 (1 - q) exceeds 70 once q < 0.3:
    # k = 17, since (13/14)^16 = 0.3055 and (13/14)^17 = 0.2837.
    expected = [0] * 14 + [1] * 17 + [lowest] * 24
    assert positions(rsi_targets, wave(), long_short=long_short) == expected


def test_rsi_does_not_trade_a_price_that_never_moved() -> None:
    assert positions(rsi_targets, [50.0] * 40) == [0] * 40
    assert positions(rsi_targets, [50.0] * 40 + [49.0] * 3)[40:] == [1, 1, 1]


def test_position_is_kept_until_the_other_signal() -> None:
    enter = np.array([False, True, False, False, False, True, True])
    leave = np.array([False, False, False, True, False, False, False])
    assert keep_between(enter, leave, 0).tolist() == [0, 1, 1, 0, 0, 1, 1]
    assert keep_between(enter, leave, -1).tolist() == [0, 1, 1, -1, -1, 1, 1]
    assert keep_between(leave, enter, -1).tolist() == [0, -1, -1, 1, 1, -1, -1]


@pytest.mark.parametrize("rule", [macd_targets, rsi_targets])
@settings(max_examples=20)
@given(day=st.integers(20, 118), seed=st.integers(0, 99), change=st.sampled_from(["x10", "reversed", "still"]))
def test_prices_after_a_session_change_no_target_up_to_it(rule: Rule, day: int, seed: int, change: str) -> None:
    marks = random_walk(120, seed)
    changed, later = marks.copy(), marks[day + 1 :]
    changed[day + 1 :] = {"x10": later * 10, "reversed": later[::-1], "still": np.full(len(later), marks[day])}[change]
    assert positions(rule, changed)[: day + 1] == positions(rule, marks)[: day + 1]


@pytest.mark.parametrize("rule", [macd_targets, rsi_targets])
def test_sessions_before_the_window_warm_the_indicator_up(rule: Rule) -> None:
    tables = {"A": table(random_walk(200)), "B": table(random_walk(190, 1))}
    part = cut_window(tables, (FIRST + timedelta(days=150), FIRST + timedelta(days=199)), "next_close")
    targets = rule(tables, part)
    assert targets.shape == (2, 50)
    assert targets[0].tolist() == positions(rule, random_walk(200))[150:]
    assert targets[1].tolist() == positions(rule, random_walk(190, 1))[150:] + [0] * 10
    assert targets.any()


def test_window_and_tables_must_belong_together() -> None:
    tables = {"A": table(random_walk(100))}
    window = cut_window(tables, ALWAYS, "next_close")
    with pytest.raises(DataError, match=r"A 2024-03-31: the table has no such session, .*\(10 in all\)"):
        macd_targets({"A": tables["A"].head(90)}, window)


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_missing_mark_is_an_error_rather_than_a_flat_position(missing: float | None) -> None:
    tables = {"A": table(random_walk(100))}
    window = cut_window(tables, (FIRST + timedelta(days=50), FIRST + timedelta(days=99)), "next_close")
    broken = tables["A"].with_columns(
        mark_price=pl.when(pl.col("session") == date(2024, 1, 5)).then(pl.lit(missing)).otherwise("mark_price")
    )
    with pytest.raises(DataError, match=r"A 2024-01-05: mark_price is missing in 1 session"):
        rsi_targets({"A": broken}, window)


@given(targets=st.lists(st.lists(st.sampled_from([-1, 0, 1]), min_size=9, max_size=9), min_size=1, max_size=3))
def test_follow_reaches_every_position_that_long_flat_allows(
    targets: list[list[int]], cut_prices: Callable[..., TradingWindow]
) -> None:
    prices = [10, 11, 9, 12, 8, 13, 10, 11, 12]
    window = cut_prices("next_close", **{name: (prices, prices) for name in "ABC"[: len(targets)]})
    played = replay("rule", window, EnvConfig(), follow(np.array(targets)))  # which refuses illegal actions
    for symbol, wanted in zip("ABC", targets, strict=False):
        before = played.decisions.filter(symbol=symbol)["position"].to_list()
        assert before == [0] + [max(target, 0) for target in wanted[:-1]]


@given(targets=st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=30))
def test_follow_reaches_both_sides_where_shorts_are_allowed(targets: list[int]) -> None:
    """`long_short`: sell goes to -1, buy to 1; no action leads back to 0."""
    rule, position = follow(np.array([targets])), 0
    for target in targets:
        mask = np.array([[position > -1, True, position < 1]])
        action = int(rule(States([""], [""], mask)).actions[0])
        assert mask[0, action]
        before, position = position, {SELL: -1, HOLD: position, BUY: 1}[action]
        assert position == (target if target != 0 else min(before, 0) if before != 1 else -1)


def test_follow_counts_its_sessions_and_refuses_one_too_many() -> None:
    flat = States([""], [""], np.array([[False, True, True]]))
    rule = follow(np.array([[0, 1]]))
    assert [int(rule(flat).actions[0]) for _ in range(2)] == [HOLD, BUY]
    with pytest.raises(ValueError, match="targets for 2 sessions and was asked for one more"):
        rule(flat)
