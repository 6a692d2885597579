"""Whole tables compared with buy and hold."""

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from flag_kedro.backtest.baselines import buy_and_hold
from flag_kedro.backtest.benchmark import BenchmarkComparison, TrialSharpes, compare_to_benchmark
from flag_kedro.backtest.counterfactual import Shifts
from flag_kedro.backtest.draws import Draws, add_intervals, draw_windows
from flag_kedro.backtest.intervals import Difference
from flag_kedro.backtest.pooled import ReplayedStrategies
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
NO_TRIALS = TrialSharpes({})
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
        "exposure": np.abs(held).astype(float),
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
    return _replayed(tables).draw(200, seed=3)


def _replayed(tables: tuple[pl.DataFrame, pl.DataFrame], **given: Any) -> ReplayedStrategies:
    return ReplayedStrategies(*tables, CALENDARS, **({"long_short": True} | given))


def _compare(
    tables: tuple[pl.DataFrame, pl.DataFrame],
    draws: Draws,
    trials: TrialSharpes | None = NO_TRIALS,
    shifts: dict[str, dict[str, Shifts]] | None = None,
    **given: Any,
) -> BenchmarkComparison:
    return compare_to_benchmark(_replayed(tables, **given), draws, trials=trials, shifts=shifts or {})


def _returns(symbol: str, targets: np.ndarray) -> np.ndarray:
    return targets[:-1] * np.diff(np.log(MARKS[symbol]))


def test_comparison_as_json_has_every_strategy_but_buy_and_hold(
    tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws
) -> None:
    comparison = _compare(tables, draws, shifts={"A": {"flag_trader": Shifts(np.arange(20.0)[::-1], True)}})
    content = json.loads(json.dumps(asdict(comparison), allow_nan=False))
    assert list(content) == ["draws", "confidence", "seed", "block_length", "size_notes", "pooled", "symbols"]
    assert (content["draws"], content["confidence"], content["seed"]) == (200, 0.95, 3)
    assert {symbol: list(strategies) for symbol, strategies in content["symbols"].items()} == {
        symbol: ["flag_trader", "copy", "flat", "shorts"] for symbol in "AB"
    }
    policy = content["symbols"]["A"]["flag_trader"]
    assert list(content["pooled"]) == ["flag_trader", "copy", "flat", "shorts"]
    assert set(policy) == {
        "sharpe_difference",
        "cash_difference",
        "win_rate_difference",
        "shift_percentile",
        "shift_p_value",
        "correction",
        "probabilistic_sharpe_ratio",
        "deflated_sharpe_ratio",
        "num_trials",
        "effective_trials",
        "min_track_record",
        "sessions_needed",
        "proven_ahead",
        "collapse",
        "verdict",
        "rivals",
    }
    assert list(policy["sharpe_difference"]) == list(policy["win_rate_difference"]) == ["value", "ci95", "p_value"]
    assert list(policy["collapse"]) == [
        "actions",
        "agreement_long",
        "agreement_flat",
        "agreement_short",
        "action_entropy",
        "policy_entropy",
        "collapsed_to",
    ]
    assert (policy["shift_percentile"], policy["shift_p_value"]) == (1.0, 0.05)
    assert content["symbols"]["A"]["flat"]["shift_percentile"] is None
    assert all(1.0 <= length <= NUM / 3 for length in content["block_length"].values())


@pytest.mark.parametrize(("symbol", "days"), [("A", 252), ("B", 365)])
def test_comparison_rests_on_the_shared_draws_and_the_days_of_the_calendar(
    symbol: str, days: int, tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws
) -> None:
    comparison = _compare(tables, draws).symbols[symbol]["flag_trader"]
    policy, market = _returns(symbol, FLIPS), _returns(symbol, RULES["buy_and_hold"])
    expected = sharpe_difference(policy, market, days, draws.indices[symbol])
    assert comparison.sharpe_difference.value == pytest.approx(expected.value)
    assert comparison.sharpe_difference.ci95 == pytest.approx(list(expected.ci95 or ()))
    assert comparison.sharpe_difference.p_value == expected.p_value
    assert comparison.sessions_needed == pytest.approx(sessions_needed(policy, market), abs=1)
    assert comparison.win_rate_difference.value == pytest.approx((policy > 0).mean() - (market > 0).mean())


def test_copy_of_buy_and_hold_is_called_so_and_does_not_differ(
    tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws
) -> None:
    comparison = _compare(tables, draws).symbols["A"]["copy"]
    nothing = Difference(0.0, (0.0, 0.0), 1.0)
    assert comparison.sharpe_difference == comparison.win_rate_difference == nothing
    assert comparison.sessions_needed is None
    assert comparison.collapse.collapsed_to == "buy_and_hold"
    assert comparison.verdict.startswith("copy is buy and hold:")


def test_flat_account_is_undefined_rather_than_zero(tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws) -> None:
    comparison = _compare(tables, draws).symbols["A"]["flat"]
    assert comparison.sharpe_difference == Difference(None, None, None)
    assert (comparison.probabilistic_sharpe_ratio, comparison.deflated_sharpe_ratio) == (None, None)
    assert comparison.collapse.collapsed_to == "flat"
    assert comparison.win_rate_difference.value < 0.0


def test_sell_is_a_short_target_where_there_are_shorts(tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws) -> None:
    collapse = _compare(tables, draws).symbols["A"]["shorts"].collapse
    assert collapse.agreement_short == pytest.approx((FLIPS == 0).mean())
    flat_only = _compare(tables, draws, long_short=False).symbols["A"]["flag_trader"].collapse
    assert flat_only.agreement_flat == pytest.approx((FLIPS == 0).mean())
    assert flat_only.policy_entropy == pytest.approx(np.log(2))


def test_only_the_policy_is_deflated_by_its_trials(tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws) -> None:
    returns = _returns("A", FLIPS)
    trials = [float(returns.mean() / returns.std(ddof=1)), -0.1, 0.2]
    symbols = _compare(tables, draws, trials=TrialSharpes({"A": trials})).symbols
    policy = symbols["A"]["flag_trader"]
    assert policy.num_trials == 3
    assert policy.deflated_sharpe_ratio == pytest.approx(deflated_sharpe_ratio(returns, trials))
    assert policy.deflated_sharpe_ratio < policy.probabilistic_sharpe_ratio
    for other in (symbols["A"]["shorts"], symbols["B"]["flag_trader"]):
        assert other.num_trials == 1
        assert other.deflated_sharpe_ratio == other.probabilistic_sharpe_ratio


def test_order_of_the_strategies_changes_nothing(tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws) -> None:
    turned = _all_tables(dict(reversed(RULES.items())))
    assert _compare(turned, _replayed(turned).draw(200, seed=3)) == _compare(tables, draws)


def test_cash_is_taken_off_every_series_and_earning_it_is_no_win(
    tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws
) -> None:
    cash = {symbol: np.full(NUM - 1, 0.01) for symbol in MARKS}
    comparison = _compare(tables, draws, cash_returns=cash).symbols["A"]["flag_trader"]
    policy, market = _returns("A", FLIPS), _returns("A", RULES["buy_and_hold"])
    expected = sharpe_difference(policy - 0.01, market - 0.01, 252, draws.indices["A"])
    assert comparison.sharpe_difference.value == pytest.approx(expected.value)
    assert comparison.sharpe_difference.ci95 == pytest.approx(list(expected.ci95 or ()))
    assert comparison.win_rate_difference.value == pytest.approx((policy > 0).mean() - (market > 0).mean())

    flat = tables[1].with_columns(  # an account that earns cash while flat
        equity=pl.when(strategy="flat").then(1_000.0 * 1.01 ** pl.int_range(pl.len())).otherwise("equity")
    )
    still = _compare((tables[0], flat), draws, cash_returns=cash).symbols["A"]["flat"]
    assert still.win_rate_difference.value == pytest.approx(-(market > 0).mean())


def test_ruined_account_is_called_ruined_and_nothing_is_made_up(
    tables: tuple[pl.DataFrame, pl.DataFrame],
) -> None:
    decisions, equity = _tables("A", "ruined", -np.ones(NUM, dtype=np.int64), num=20)
    last = pl.int_range(pl.len()) == 19
    equity = equity.with_columns(equity=pl.when(last).then(-3.0).otherwise("equity"))
    whole = pl.concat([tables[0], decisions]), pl.concat([tables[1], equity])
    draws = _replayed(whole).draw(200, seed=3)
    cash = {symbol: np.zeros(NUM - 1) for symbol in MARKS}
    shifts = {"A": {"ruined": Shifts(np.arange(20.0)[::-1], True)}}
    comparison = _compare(whole, draws, shifts=shifts, cash_returns=cash).symbols["A"]["ruined"]
    assert comparison.verdict == "ruined lost everything: its account was ruined after 19 sessions."
    assert comparison.sharpe_difference.p_value is None
    assert (comparison.shift_p_value, comparison.shift_percentile) == (None, None)
    assert comparison.deflated_sharpe_ratio is None
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
    replayed = ReplayedStrategies(*tables, {"A": "XNYS"}, long_short=True)
    comparison = compare_to_benchmark(replayed, replayed.draw(200, 3), trials=TrialSharpes({}), shifts={})
    policy = comparison.symbols["A"]["flag_trader"]
    assert policy.verdict == "flag_trader lost everything: its account was ruined after 30 sessions."
    assert (policy.deflated_sharpe_ratio, policy.proven_ahead) == (None, False)
    scores = score_strategies(*tables, {"A": np.array(closes)}, {"A": "XNYS"}, "account", long_short=True)
    assert scores["A"]["flag_trader"]["total_return"] == -1.0


def test_interest_has_no_say_in_the_block_length(tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws) -> None:
    nights = {symbol: 1e-4 * (1.0 + 2.0 * (np.arange(NUM - 1) % 5 == 4)) for symbol in MARKS}
    growth = pl.Series(np.exp(np.concatenate([[0.0], np.cumsum(nights["A"])])))
    earning = pl.concat(
        path.with_columns(equity=1_000.0 * growth) if name == "flat" else path
        for (name, _), path in tables[1].group_by("strategy", "symbol", maintain_order=True)
    )
    flat_alone = earning.filter(pl.col("strategy").is_in(["flat", "buy_and_hold"]))
    with_cash = draw_windows(flat_alone, 200, 3, nights).block_length["A"]
    assert with_cash < 0.7 * draw_windows(flat_alone, 200, 3).block_length["A"]


def test_without_knowing_the_trials_there_is_no_deflated_ratio(
    tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws
) -> None:
    comparison = _compare(tables, draws, trials=None).symbols["A"]["flag_trader"]
    assert (comparison.num_trials, comparison.deflated_sharpe_ratio) == (None, None)
    assert comparison.probabilistic_sharpe_ratio is not None


@pytest.mark.parametrize("convention", ["account", "investorbench"])
def test_intervals_stand_beside_unchanged_scores(
    convention: Any, tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws
) -> None:
    results = score_strategies(*tables, MARKS, CALENDARS, convention, long_short=True)
    complete = add_intervals(results, *tables, MARKS, CALENDARS, convention, draws, long_short=True)
    json.dumps(complete, allow_nan=False)
    for symbol, strategies in results.items():
        for strategy, scores in strategies.items():
            with_intervals = complete[symbol][strategy]
            assert {name: with_intervals[name] for name in scores} == scores
            added = set(with_intervals) - set(scores)
            assert added == {f"{name}_ci95" for name in scores if not name.startswith("num_")}
    low, high = complete["A"]["shorts"]["sharpe_ratio_ci95"]
    assert low < results["A"]["shorts"]["sharpe_ratio"] < high  # type: ignore[operator]


def test_tables_that_cannot_be_compared_are_refused(tables: tuple[pl.DataFrame, pl.DataFrame], draws: Draws) -> None:
    decisions, equity = tables
    with pytest.raises(DataError, match="A has no buy_and_hold"):
        _compare((decisions, equity.filter(pl.col("strategy") != "buy_and_hold")), draws)
    with pytest.raises(DataError, match="no decisions"):
        _compare((decisions.filter(pl.col("strategy") != "flat"), equity), draws)
    short = equity.filter((pl.col("strategy") != "flat") | (pl.col("session") < date(2024, 2, 1)))
    with pytest.raises(DataError, match="flat has 30 returns on A, buy_and_hold 59"):
        draw_windows(short, 200, seed=0)
