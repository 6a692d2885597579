"""Judgement of whole tables."""

import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from flag_kedro.backtest.baselines import buy_and_hold
from flag_kedro.backtest.benchmark import Draws, add_intervals, compare_to_benchmark, draw_windows
from flag_kedro.backtest.intervals import Difference
from flag_kedro.backtest.replay import DECISIONS, EQUITY, replay
from flag_kedro.backtest.rules import follow
from flag_kedro.backtest.scores import score_strategies
from flag_kedro.backtest.sharpe_tests import deflated_sharpe_ratio, sessions_needed, sharpe_difference
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import DataError

NUM = 60
FLIPS = np.random.default_rng(5).integers(0, 2, NUM)
RULES = {
    "flag_trader": FLIPS,
    "buy_and_hold": np.ones(NUM, dtype=np.int64),
    "copy": np.ones(NUM, dtype=np.int64),
    "flat": np.zeros(NUM, dtype=np.int64),
    "shorts": 2 * FLIPS - 1,
}
MARKS = {name: 100.0 * np.exp(np.cumsum(np.random.default_rng(i).normal(0, 0.01, NUM))) for i, name in enumerate("AB")}
CALENDARS = {"A": "XNYS", "B": "24/7"}


def _tables(symbol: str, strategy: str, targets: np.ndarray, num: int = NUM) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of targets that fill at once and cost nothing; the account ends after `num` sessions."""
    held = np.concatenate([[0], targets[:-1]])
    log_returns = held[1:] * np.diff(np.log(MARKS[symbol]))
    equity = 1_000.0 * np.exp(np.concatenate([[0.0], np.cumsum(log_returns)]))
    actions = np.where(targets > held, "buy", np.where(targets < held, "sell", "hold")).tolist()
    probs = 0.5 if strategy == "flag_trader" else None
    common = {
        "strategy": [strategy] * NUM,
        "symbol": [symbol] * NUM,
        "session": [date(2024, 1, 1) + timedelta(days=t) for t in range(NUM)],
        "position": held,
    }
    decided = {"action": actions, "prob_sell": [probs] * NUM, "prob_hold": [probs] * NUM, "value": [None] * NUM}
    decided["prob_buy"] = [None if probs is None else 0.0] * NUM
    path = {
        "equity": equity,
        "log_return": [None, *log_returns],
        "traded_value": equity * np.abs(np.diff(held, prepend=0)),
    }
    decisions = pl.DataFrame(common | decided, schema_overrides=DECISIONS).select(list(DECISIONS))
    return decisions.head(num), pl.DataFrame(common | path, schema_overrides=EQUITY).select(list(EQUITY)).head(num)


def _all_tables(rules: dict[str, np.ndarray]) -> tuple[pl.DataFrame, pl.DataFrame]:
    tables = [_tables(symbol, name, targets) for symbol in MARKS for name, targets in rules.items()]
    decisions, equity = zip(*tables, strict=True)
    return pl.concat(decisions), pl.concat(equity)


@pytest.fixture(scope="module")
def tables() -> tuple[pl.DataFrame, pl.DataFrame]:
    return _all_tables(RULES)


@pytest.fixture(scope="module")
def draws(tables: tuple[pl.DataFrame, pl.DataFrame]) -> Draws:
    return draw_windows(tables[1], 200, seed=3)


def _judge(tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws, **given: Any) -> dict[str, Any]:
    given = {"trial_sharpes": {}, "shift_percentiles": {}, "long_short": True} | given
    return compare_to_benchmark(*tables, CALENDARS, draws, **given)


def _returns(symbol: str, targets: np.ndarray) -> np.ndarray:
    return targets[:-1] * np.diff(np.log(MARKS[symbol]))


def test_judgement_is_plain_json_of_every_strategy_but_buy_and_hold(
    tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws
) -> None:
    judged = _judge(tables, draws, shift_percentiles={"A": {"flag_trader": 0.93}})
    assert json.loads(json.dumps(judged, allow_nan=False)) == judged
    assert (judged["draws"], judged["confidence"], judged["seed"]) == (200, 0.95, 3)
    assert {symbol: list(own) for symbol, own in judged["symbols"].items()} == {
        symbol: ["flag_trader", "copy", "flat", "shorts"] for symbol in "AB"
    }
    assert list(judged["symbols"]["A"]["flag_trader"]) == [
        "sharpe_difference",
        "win_rate_difference",
        "shift_percentile",
        "probabilistic_sharpe_ratio",
        "deflated_sharpe_ratio",
        "num_trials",
        "sessions_needed",
        "proven_ahead",
        "collapse",
        "verdict",
    ]
    assert judged["symbols"]["A"]["flag_trader"]["shift_percentile"] == 0.93
    assert judged["symbols"]["A"]["flat"]["shift_percentile"] is None
    assert all(1.0 <= length <= NUM / 3 for length in judged["block_length"].values())


@pytest.mark.parametrize(("symbol", "days"), [("A", 252), ("B", 365)])
def test_judgement_rests_on_the_shared_draws_and_the_days_of_the_calendar(
    symbol: str, days: int, tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws
) -> None:
    found = _judge(tables, draws)["symbols"][symbol]["flag_trader"]
    own, market = _returns(symbol, FLIPS), _returns(symbol, RULES["buy_and_hold"])
    expected = sharpe_difference(own, market, days, draws.indices[symbol])
    assert found["sharpe_difference"]["value"] == pytest.approx(expected.value)
    assert found["sharpe_difference"]["ci95"] == pytest.approx(list(expected.ci95 or ()))
    assert found["sharpe_difference"]["p_value"] == expected.p_value
    assert found["sessions_needed"] == pytest.approx(sessions_needed(own, market), abs=1)
    assert found["win_rate_difference"]["value"] == pytest.approx((own > 0).mean() - (market > 0).mean())


def test_copy_of_buy_and_hold_is_called_so_and_does_not_differ(
    tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws
) -> None:
    found = _judge(tables, draws)["symbols"]["A"]["copy"]
    nothing = Difference(0.0, (0.0, 0.0), 1.0).as_dict()
    assert found["sharpe_difference"] == found["win_rate_difference"] == nothing
    assert found["sessions_needed"] is None
    assert found["collapse"]["collapsed_to"] == "buy_and_hold"
    assert found["verdict"].startswith("copy is buy and hold:")


def test_flat_account_is_undefined_rather_than_zero(tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws) -> None:
    found = _judge(tables, draws)["symbols"]["A"]["flat"]
    assert found["sharpe_difference"] == Difference(None, None, None).as_dict()
    assert (found["probabilistic_sharpe_ratio"], found["deflated_sharpe_ratio"]) == (None, None)
    assert found["collapse"]["collapsed_to"] == "flat"
    assert found["win_rate_difference"]["value"] < 0.0


def test_sell_is_a_short_target_where_there_are_shorts(tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws) -> None:
    collapse = _judge(tables, draws)["symbols"]["A"]["shorts"]["collapse"]
    assert collapse["agreement_short"] == pytest.approx((FLIPS == 0).mean())
    flat_only = _judge(tables, draws, long_short=False)["symbols"]["A"]["flag_trader"]["collapse"]
    assert flat_only["agreement_flat"] == pytest.approx((FLIPS == 0).mean())
    assert flat_only["policy_entropy"] == pytest.approx(np.log(2))


def test_only_the_policy_is_deflated_by_its_trials(tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws) -> None:
    returns = _returns("A", FLIPS)
    trials = [float(returns.mean() / returns.std(ddof=1)), -0.1, 0.2]
    found = _judge(tables, draws, trial_sharpes={"A": trials})["symbols"]
    policy = found["A"]["flag_trader"]
    assert policy["num_trials"] == 3
    assert policy["deflated_sharpe_ratio"] == pytest.approx(deflated_sharpe_ratio(returns, trials))
    assert policy["deflated_sharpe_ratio"] < policy["probabilistic_sharpe_ratio"]
    for other in (found["A"]["shorts"], found["B"]["flag_trader"]):
        assert other["num_trials"] == 1
        assert other["deflated_sharpe_ratio"] == other["probabilistic_sharpe_ratio"]


def test_order_of_the_strategies_changes_nothing(tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws) -> None:
    turned = _all_tables(dict(reversed(RULES.items())))
    assert _judge(turned, draw_windows(turned[1], 200, seed=3)) == _judge(tables, draws)


def test_cash_is_taken_off_every_series_and_earning_it_is_no_win(
    tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws
) -> None:
    cash = {symbol: np.full(NUM - 1, 0.01) for symbol in MARKS}
    found = _judge(tables, draws, cash_returns=cash)["symbols"]["A"]["flag_trader"]
    own, market = _returns("A", FLIPS), _returns("A", RULES["buy_and_hold"])
    expected = sharpe_difference(own - 0.01, market - 0.01, 252, draws.indices["A"])
    assert found["sharpe_difference"]["value"] == pytest.approx(expected.value)
    assert found["sharpe_difference"]["ci95"] == pytest.approx(list(expected.ci95 or ()))
    assert found["win_rate_difference"]["value"] == pytest.approx((own > 0).mean() - (market > 0).mean())

    flat = tables[1].with_columns(  # an account that earns cash while flat
        equity=pl.when(strategy="flat").then(1_000.0 * 1.01 ** pl.int_range(pl.len())).otherwise("equity")
    )
    still = _judge((tables[0], flat), draws, cash_returns=cash)["symbols"]["A"]["flat"]
    assert still["win_rate_difference"]["value"] == pytest.approx(-(market > 0).mean())


def test_ruined_account_is_said_to_be_ruined_and_nothing_is_made_up(
    tables: tuple[pl.DataFrame, pl.DataFrame],
) -> None:
    decisions, equity = _tables("A", "ruined", -np.ones(NUM, dtype=np.int64), num=20)
    last = pl.int_range(pl.len()) == 19
    equity = equity.with_columns(equity=pl.when(last).then(-3.0).otherwise("equity"))
    whole = pl.concat([tables[0], decisions]), pl.concat([tables[1], equity])
    draws = draw_windows(whole[1], 200, seed=3)
    cash = {symbol: np.zeros(NUM - 1) for symbol in MARKS}
    found = _judge(whole, draws, cash_returns=cash)["symbols"]["A"]["ruined"]
    assert found["verdict"] == "ruined lost everything: its account was ruined after 19 sessions."
    assert found["sharpe_difference"]["p_value"] is None
    assert found["deflated_sharpe_ratio"] is None
    results = score_strategies(*whole, MARKS, CALENDARS, "account", cash)
    with_intervals = add_intervals(results, *whole, MARKS, CALENDARS, "account", draws, cash)
    assert with_intervals["A"]["ruined"]["total_return"] == -1.0
    assert with_intervals["A"]["ruined"]["max_drawdown_ci95"] is None


def test_ruin_in_the_environment_is_ruin_in_the_verdict(make_window: Callable[..., TradingWindow]) -> None:
    closes = [10.0 + t % 3 for t in range(40)]
    closes[30] *= 2.5  # against a short
    window = make_window("same_close", positions="long_short", A=closes)
    config = EnvConfig(positions="long_short")
    shorts = np.full((1, 40), -1, dtype=np.int64)
    rules = {"buy_and_hold": buy_and_hold, "flag_trader": follow(shorts)}
    played = [replay(name, window, config, rule) for name, rule in rules.items()]
    tables = pl.concat([part.decisions for part in played]), pl.concat([part.equity for part in played])
    draws = draw_windows(tables[1], 200, seed=3)
    found = compare_to_benchmark(*tables, {"A": "XNYS"}, draws, trial_sharpes={}, shift_percentiles={}, long_short=True)
    said = found["symbols"]["A"]["flag_trader"]
    assert said["verdict"] == "flag_trader lost everything: its account was ruined after 30 sessions."
    assert (said["deflated_sharpe_ratio"], said["proven_ahead"]) == (None, False)
    scores = score_strategies(*tables, {"A": np.array(closes)}, {"A": "XNYS"}, "account", long_short=True)
    assert scores["A"]["flag_trader"]["total_return"] == -1.0


def test_interest_has_no_say_in_the_block_length(tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws) -> None:
    nights = {symbol: 1e-4 * (1.0 + 2.0 * (np.arange(NUM - 1) % 5 == 4)) for symbol in MARKS}
    growth = pl.Series(np.exp(np.concatenate([[0.0], np.cumsum(nights["A"])])))
    earning = pl.concat(
        own.with_columns(equity=1_000.0 * growth) if name == "flat" else own
        for (name, _), own in tables[1].group_by("strategy", "symbol", maintain_order=True)
    )
    flat_alone = earning.filter(pl.col("strategy").is_in(["flat", "buy_and_hold"]))
    with_cash = draw_windows(flat_alone, 200, 3, nights).block_length["A"]
    assert with_cash < 0.7 * draw_windows(flat_alone, 200, 3).block_length["A"]


def test_without_knowing_the_trials_there_is_no_deflated_ratio(
    tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws
) -> None:
    found = _judge(tables, draws, trial_sharpes=None)["symbols"]["A"]["flag_trader"]
    assert (found["num_trials"], found["deflated_sharpe_ratio"]) == (None, None)
    assert found["probabilistic_sharpe_ratio"] is not None


@pytest.mark.parametrize("convention", ["account", "investorbench"])
def test_intervals_stand_beside_unchanged_scores(
    convention: Any, tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws
) -> None:
    results = score_strategies(*tables, MARKS, CALENDARS, convention, long_short=True)
    complete = add_intervals(results, *tables, MARKS, CALENDARS, convention, draws, long_short=True)
    json.dumps(complete, allow_nan=False)
    for symbol, strategies in results.items():
        for strategy, scores in strategies.items():
            found = complete[symbol][strategy]
            assert {name: found[name] for name in scores} == scores
            added = set(found) - set(scores)
            assert added == {f"{name}_ci95" for name in scores if not name.startswith("num_")}
    low, high = complete["A"]["shorts"]["sharpe_ratio_ci95"]
    assert low < results["A"]["shorts"]["sharpe_ratio"] < high  # type: ignore[operator]


def test_tables_that_cannot_be_judged_are_refused(tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws) -> None:
    decisions, equity = tables
    with pytest.raises(DataError, match="A has no buy_and_hold"):
        _judge((decisions, equity.filter(pl.col("strategy") != "buy_and_hold")), draws)
    with pytest.raises(DataError, match="no decisions"):
        _judge((decisions.filter(pl.col("strategy") != "flat"), equity), draws)
    short = equity.filter((pl.col("strategy") != "flat") | (pl.col("session") < date(2024, 2, 1)))
    with pytest.raises(DataError, match="flat has 30 returns on A, buy_and_hold 59"):
        draw_windows(short, 200, seed=0)
