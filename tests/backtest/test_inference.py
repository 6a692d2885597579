"""Draws, intervals, win rates and summaries over seeds."""

import math
import time
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
from arch.bootstrap import optimal_block_length
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from flag_kedro.backtest.inference import (
    draw_sessions,
    interquartile_mean,
    score_intervals,
    summarise_seeds,
    win_rate_difference,
)
from flag_kedro.backtest.intervals import Difference, percentile_interval, studentised_difference
from flag_kedro.backtest.sessions import (
    Measure,
    Sessions,
    account_metrics,
    account_sessions,
    investorbench_metrics,
    investorbench_sessions,
)
from flag_kedro.backtest.sharpe_tests import measure_sharpe
from flag_kedro.backtest.standard_errors import hac_error
from flag_kedro.data.streams import derived_seed, stream
from flag_kedro.errors import DataError

SEEDS = st.integers(0, 2**32 - 1)
ACCOUNT = partial(account_metrics, days=252)
INVESTORBENCH = partial(investorbench_metrics, days_mean=252, days_volatility=365)


def _account(seed: int, num: int = 60) -> Sessions:
    rng = np.random.default_rng(seed)
    positions = rng.integers(0, 2, num + 1)
    returns = positions[1:] * rng.normal(0.001, 0.01, num)
    equity = 1_000.0 * np.exp(np.concatenate([[0.0], np.cumsum(returns)]))
    return account_sessions(equity, positions, equity * np.abs(np.diff(positions, prepend=0)), np.full(num, 1e-4))


def _investorbench(seed: int, num: int = 60) -> Sessions:
    rng = np.random.default_rng(seed)
    return investorbench_sessions(rng.integers(-1, 2, num + 1), np.exp(rng.normal(0.0, 0.01, num + 1)))


# Draws


def test_draws_are_repeated_by_their_seed_and_hold_blocks_of_following_sessions() -> None:
    returns = stream(0, "draws").normal(size=(3, 100))
    indices, length = draw_sessions(returns, 400, 7)
    assert indices.shape == (400, 100)
    assert (indices.min(), indices.max()) == (0, 99)
    assert np.array_equal(indices, draw_sessions(returns, 400, 7)[0])
    assert not np.array_equal(indices, draw_sessions(returns, 400, 8)[0])
    # A session is followed by the next one, or at random by it, unless a new block starts (1 in `length`)
    follows = (np.diff(indices, axis=1) % 100 == 1).mean()
    assert follows == pytest.approx(1.0 - 1.0 / length * 0.99, abs=0.01)


def test_block_length_is_the_median_of_what_the_strategies_ask_for() -> None:
    rng = stream(0, "blocks")
    independent = rng.normal(size=300)
    slow = np.convolve(rng.normal(size=330), np.ones(31) / 31, mode="valid")
    slower = np.convolve(rng.normal(size=360), np.ones(61) / 61, mode="valid")
    asked = [
        float(optimal_block_length(measure_sharpe(series).influence)["stationary"].iloc[0])
        for series in (independent, slow, slower)
    ]
    assert asked[0] < 5.0 < asked[1] < asked[2]
    assert draw_sessions(np.stack([slower, independent, slow]), 40, 0)[1] == asked[1]
    assert draw_sessions(np.stack([independent, slow]), 40, 0)[1] == pytest.approx((asked[0] + asked[1]) / 2.0)


def test_block_length_of_many_strategies_is_no_longer_than_that_of_one() -> None:
    """The longest of eight choices on 60 independent returns would be twice as long as one alone."""
    alone, together = [], []
    for window in range(60):
        returns = stream(0, "many", window).normal(size=(8, 60))
        alone.append(draw_sessions(returns[:1], 40, 0)[1])
        together.append(draw_sessions(returns, 40, 0)[1])
    assert np.mean(together) < np.mean(alone)


def test_block_length_sees_the_memory_of_volatility_that_returns_do_not_show() -> None:
    """The sign of each return is drawn anew, its size is that of its year: the squares have a memory."""
    rng = stream(0, "clusters")
    returns = 2.0 + rng.normal(size=600) * np.repeat([0.5, 3.0, 0.5, 3.0], 150)
    of_returns = float(optimal_block_length(returns)["stationary"].iloc[0])
    assert draw_sessions(returns[None], 40, 0)[1] > 2 * of_returns


def test_block_length_is_between_one_and_a_third_of_the_window() -> None:
    wave, square = np.cos(0.5 * np.arange(20)), np.tile([1.0, 1.0, -1.0, -1.0], 5)
    suggested = optimal_block_length(np.stack([wave, square], axis=1))["stationary"].to_list()
    assert suggested[0] > 20 / 3
    assert suggested[1] < 1.0
    assert draw_sessions(wave[None], 40, 0)[1] == 20 / 3
    assert draw_sessions(square[None], 40, 0)[1] == 1.0


@pytest.mark.filterwarnings("error")
def test_series_without_variation_or_of_a_ruined_account_have_no_say_in_the_block_length() -> None:
    usable = stream(0, "usable").normal(size=(1, 80))
    broken = np.stack([np.zeros(80), np.full(80, 0.01), np.append(np.zeros(79), -np.inf), np.full(80, np.nan)])
    alone, together = draw_sessions(usable, 50, 3), draw_sessions(np.concatenate([broken, usable]), 50, 3)
    assert np.array_equal(alone[0], together[0])
    assert alone[1] == together[1]
    assert draw_sessions(broken, 50, 3)[1] == 1.0


@given(seed=SEEDS)
def test_order_of_the_strategies_does_not_change_the_draws(seed: int) -> None:
    returns = np.random.default_rng(seed).normal(size=(4, 60))
    assert np.array_equal(draw_sessions(returns, 40, 1)[0], draw_sessions(returns[[2, 0, 3, 1]], 40, 1)[0])


@pytest.mark.parametrize("num", [1, 2, 5, 19])
def test_short_window_is_drawn_one_by_one(num: int) -> None:
    indices, length = draw_sessions(stream(0, "short").normal(size=(2, num)), 40, 0)
    assert (indices.shape, length) == ((40, num), 1.0)


def test_too_few_draws_or_sessions_are_refused() -> None:
    with pytest.raises(DataError, match="at least 40"):
        draw_sessions(np.ones((1, 50)), 39, 0)
    with pytest.raises(DataError, match="at least two sessions"):
        draw_sessions(np.ones((1, 0)), 40, 0)


# Intervals


@pytest.mark.parametrize(("sessions", "measure"), [(_account(1), ACCOUNT), (_investorbench(1), INVESTORBENCH)])
def test_sessions_drawn_as_they_were_have_the_scores_of_the_path(sessions: Sessions, measure: Measure) -> None:
    as_it_was, reversed_order = np.arange(60), np.arange(60)[::-1]
    drawn = measure(sessions.draw(np.stack([as_it_was, reversed_order])))
    ordered = {"max_drawdown", "calmar_ratio"}
    for name, value in measure(sessions).items():
        assert drawn[name][0] == pytest.approx(float(value), rel=1e-12), name
        if name not in ordered:
            assert drawn[name][1] == pytest.approx(float(value), rel=1e-9), name


@pytest.mark.parametrize(("sessions", "measure"), [(_account(2), ACCOUNT), (_investorbench(2), INVESTORBENCH)])
def test_every_metric_but_counts_has_an_interval(sessions: Sessions, measure: Measure) -> None:
    indices, _ = draw_sessions(sessions.returns[None], 400, 0)
    intervals = score_intervals(sessions, indices, measure)
    assert set(intervals) == {f"{name}_ci95" for name in measure(sessions) if name != "num_trades"}
    for name, interval in intervals.items():
        assert interval is not None, name
        assert interval[0] <= interval[1], name
    for name in ("cumulative_return", "total_return", "sharpe_ratio", "annual_volatility", "win_rate", "exposure"):
        low, high = intervals[f"{name}_ci95"] or (math.nan, math.nan)
        assert low < float(measure(sessions)[name]) < high, name


def test_interval_does_not_depend_on_how_many_draws_are_measured_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = _account(3)
    indices, _ = draw_sessions(sessions.returns[None], 100, 0)
    at_once = score_intervals(sessions, indices, ACCOUNT)
    monkeypatch.setattr("flag_kedro.backtest.inference.PART_SIZE", 7 * 60)
    assert score_intervals(sessions, indices, ACCOUNT) == at_once


def test_percentile_intervals_are_quantiles_over_the_draws() -> None:
    sessions = _account(4)
    indices, _ = draw_sessions(sessions.returns[None], 200, 0)
    shares = [np.mean(sessions.invested[draw]) for draw in indices]
    interval = score_intervals(sessions, indices, ACCOUNT)["exposure_ci95"]
    assert interval == pytest.approx(np.quantile(shares, [0.025, 0.975]).tolist(), rel=1e-9)


def test_interval_of_the_volatility_agrees_with_a_plain_loop_over_draws() -> None:
    """t* of ln s by a delta-method error, one draw at a time: c is the tenth largest of 199, 5 % of 200."""
    sessions = _account(4)
    indices, _ = draw_sessions(sessions.returns[None], 199, 0)

    def log_deviation(returns: np.ndarray) -> tuple[float, float]:
        centred = returns - math.fsum(returns) / len(returns)
        variance = math.fsum(centred**2) / len(returns)
        return math.log(np.std(returns, ddof=1)), float(hac_error(centred**2 / (2.0 * variance)))

    value, error = log_deviation(sessions.returns)
    drawn = [log_deviation(sessions.returns[draw]) for draw in indices]
    width = sorted((abs(one - value) / its_error for one, its_error in drawn), reverse=True)[9] * error
    low, high = score_intervals(sessions, indices, ACCOUNT)["annual_volatility_ci95"] or (math.nan, math.nan)
    assert [low, high] == pytest.approx([math.sqrt(252) * math.exp(value + side) for side in (-width, width)], rel=1e-9)
    assert low * high == pytest.approx(252 * np.var(sessions.returns, ddof=1))  # symmetric in logarithms


def test_volatility_that_many_draws_leave_at_zero_has_a_percentile_interval() -> None:
    """One trade in 60 sessions: 36 % of independent draws miss it."""
    returns = np.zeros(60)
    returns[7] = 0.02
    sessions = Sessions(returns, returns, returns > 0.0, returns, returns, np.ones(60), 1.0)
    indices = stream(0, "once").integers(0, 60, (400, 60))
    deviations = np.std(returns[indices], axis=1, ddof=1) * math.sqrt(252)
    interval = score_intervals(sessions, indices, ACCOUNT)["annual_volatility_ci95"]
    assert interval == pytest.approx(np.quantile(deviations, [0.025, 0.975]).tolist())


def test_total_return_interval_is_the_compounded_one_of_the_cumulative_return() -> None:
    sessions = _account(5)
    intervals = score_intervals(sessions, draw_sessions(sessions.returns[None], 200, 0)[0], ACCOUNT)
    compounded = [math.expm1(bound) for bound in intervals["cumulative_return_ci95"] or ()]
    assert intervals["total_return_ci95"] == pytest.approx(compounded)


@given(seed=SEEDS, scale=st.floats(0.1, 10.0))
def test_interval_of_the_sharpe_ratio_does_not_depend_on_the_scale_of_returns(seed: int, scale: float) -> None:
    returns = np.random.default_rng(seed).normal(0.001, 0.01, 40)
    indices = np.random.default_rng(seed).integers(0, 40, (99, 40))

    def interval(values: np.ndarray) -> list[float] | None:
        nothing = np.zeros(40)
        sessions = Sessions(values, values, np.ones(40, dtype=bool), nothing + 1.0, nothing, nothing + 1.0, 1.0)
        return score_intervals(sessions, indices, ACCOUNT)["sharpe_ratio_ci95"]

    assert interval(scale * returns) == pytest.approx(interval(returns), rel=1e-9, abs=1e-9)


@pytest.mark.filterwarnings("error")
def test_flat_account_has_the_intervals_of_what_is_defined() -> None:
    sessions = account_sessions(np.full(31, 1_000.0), np.zeros(31, dtype=np.int64), np.zeros(31))
    intervals = score_intervals(sessions, draw_sessions(sessions.returns[None], 40, 0)[0], ACCOUNT)
    defined = {name.removesuffix("_ci95"): value for name, value in intervals.items() if value is not None}
    zero = ("cumulative_return", "total_return", "annual_volatility", "max_drawdown", "exposure", "turnover")
    assert defined == {name: [0.0, 0.0] for name in zero}


@pytest.mark.filterwarnings("error")
def test_ruined_account_has_no_intervals() -> None:
    sessions = account_sessions(np.append(np.full(30, 1_000.0), -1.0), np.zeros(31, dtype=np.int64), np.zeros(31))
    intervals = score_intervals(sessions, np.zeros((40, 30), dtype=np.int64), ACCOUNT)
    assert "sharpe_ratio_ci95" in intervals
    assert set(intervals.values()) == {None}


def test_score_that_more_than_five_percent_of_draws_leave_undefined_has_no_interval() -> None:
    drawn = np.arange(100.0)
    drawn[:5] = np.nan
    assert percentile_interval(drawn) == pytest.approx((5 + 0.025 * 94, 5 + 0.975 * 94))
    drawn[5] = np.nan
    assert percentile_interval(drawn) is None


def test_studentised_interval_reaches_as_far_as_all_but_five_percent_of_the_statistics() -> None:
    # t* = 1, ..., 99 (errors of 2): the fifth largest is 95; |3| / 2 is reached by 98 of them
    drawn = 3.0 + 2.0 * np.arange(1.0, 100.0)
    difference = studentised_difference(3.0, drawn, 2.0, np.full(99, 2.0))
    assert difference == Difference(3.0, (3.0 - 190.0, 3.0 + 190.0), 99 / 100)


def test_draws_whose_error_is_one_of_rounding_have_no_statistic() -> None:
    drawn, errors = np.linspace(-1.0, 1.0, 100), np.full(100, 0.1)
    errors[:5] = 1e-18
    difference = studentised_difference(0.1, drawn, 0.1, errors)
    assert difference.ci95 is not None
    assert difference.ci95[1] < 1.5
    errors[5] = 1e-18
    assert studentised_difference(0.1, drawn, 0.1, errors) == Difference(0.1, None, None)


@pytest.mark.slow
def test_interval_of_a_coin_flip_covers_zero_about_as_often_as_it_says() -> None:
    started, num_windows, covered, percentile = time.perf_counter(), 1_000, 0, 0
    for window in range(num_windows):
        rng = stream(0, "coverage", window)
        held = rng.integers(0, 2, 150)
        returns = held * rng.normal(0.0, 0.01, 150)
        indices, _ = draw_sessions(returns[None], 1_000, derived_seed(0, "coverage", window))
        sessions = Sessions(returns, returns, held == 1, held.astype(float), np.zeros(150), np.ones(150), 1.0)
        low, high = score_intervals(sessions, indices, ACCOUNT)["cumulative_return_ci95"] or (math.nan, math.nan)
        covered += low <= 0.0 <= high
        low, high = percentile_interval(returns[indices].mean(-1)) or (math.nan, math.nan)
        percentile += low <= 0.0 <= high
    seconds = time.perf_counter() - started
    shares = {"studentised": covered / num_windows, "percentile": percentile / num_windows}
    print(shares | {"seconds": round(seconds)})  # noqa: T201
    assert 0.93 <= covered / num_windows <= 0.97


# Win rates


def test_flat_session_is_not_won() -> None:
    # won: strategy 1 of 4 (the flat session is none), benchmark 3 of 4
    strategy, benchmark = np.array([0.0, 0.01, 0.0, -0.01]), np.array([0.02, 0.01, 0.01, -0.02])
    assert win_rate_difference(strategy, benchmark, np.zeros((40, 4), dtype=np.int64)).value == -0.5


def test_paired_bootstrap_of_wins_is_as_worked_by_hand() -> None:
    # wins differ by 1, 1, 0, 0: value 1/2. Draws of mean 0, 1/2, 1 differ from it by 1/2, 0, 1/2: with 10, 20 and 10
    # of them 20 reach 1/2, so p = 21 / 41; the second largest of 40 deviations is 1/2
    strategy, benchmark = np.array([0.1, 0.1, 0.1, -0.1]), np.array([-0.1, 0.0, 0.1, -0.1])
    indices = np.repeat([[2, 3, 2, 3], [0, 1, 2, 3], [0, 1, 0, 1]], [10, 20, 10], axis=0)
    assert win_rate_difference(strategy, benchmark, indices) == Difference(0.5, (0.0, 1.0), 21 / 41)


def test_wins_with_a_memory_are_tested_by_their_own_error_in_each_draw() -> None:
    """A plain loop: t* = |mean* - mean| / error*, the p-value counts those that reach |mean| / error."""
    rng = stream(1, "wins")
    strategy, benchmark = np.repeat(rng.normal(0.3, 1.0, 20), 3), rng.normal(size=60)
    indices, _ = draw_sessions(np.stack([strategy, benchmark]), 199, 1)
    wins = [int(s > 0) - int(b > 0) for s, b in zip(strategy, benchmark, strict=True)]
    mean, error, extreme = sum(wins) / 60, float(hac_error(np.array(wins, dtype=float))), 1
    for draw in indices:
        drawn = np.array([wins[t] for t in draw], dtype=float)
        extreme += abs(drawn.mean() - mean) / float(hac_error(drawn)) >= abs(mean) / error
    assert win_rate_difference(strategy, benchmark, indices).p_value == extreme / 200


@given(seed=SEEDS)
def test_win_rates_have_an_interval_that_agrees_with_the_p_value_and_changes_sign_with_the_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    strategy, benchmark = rng.normal(rng.uniform(0, 0.02), 0.01, 50), rng.normal(0.0, 0.01, 50)
    indices = rng.integers(0, 50, (199, 50))
    there = win_rate_difference(strategy, benchmark, indices)
    back = win_rate_difference(benchmark, strategy, indices)
    assert there.ci95 is not None
    assert back.ci95 is not None
    assert (there.ci95[0] > 0.0 or there.ci95[1] < 0.0) == ((there.p_value or 0.0) <= 0.05)
    assert (there.value, there.p_value) == (-(back.value or 0.0), back.p_value)
    assert there.ci95 == pytest.approx((-back.ci95[1], -back.ci95[0]))


def test_equal_wins_have_no_difference() -> None:
    strategy = stream(0, "wins").normal(size=30)
    indices, _ = draw_sessions(strategy[None], 40, 0)
    assert win_rate_difference(strategy, 2.0 * strategy, indices) == Difference(0.0, (0.0, 0.0), 1.0)


def test_wins_of_returns_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError, match="return 1 of 3 is nan"):
        win_rate_difference(np.array([0.1, np.nan, 0.1]), np.zeros(3), np.zeros((40, 3), dtype=np.int64))


# Seeds


@given(values=st.lists(st.floats(-10.0, 10.0), min_size=4, max_size=30))
def test_interquartile_mean_agrees_with_scipy(values: list[float]) -> None:
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25), rel=1e-12, abs=1e-12)


def test_of_three_seeds_no_whole_one_is_a_quarter() -> None:
    """scipy's trimmed mean would be the plain one, under another name."""
    assert stats.trim_mean([1.0, 2.0, 9.0], 0.25) == np.mean([1.0, 2.0, 9.0])
    assert interquartile_mean([1.0, 2.0, 9.0]) is None
    assert summarise_seeds([1.0, 2.0, 9.0]).interquartile_mean is None


def test_seeds_are_summarised_without_their_extremes() -> None:
    # of 8 values the lowest and highest two go: (3 + 4 + 5 + 6) / 4
    summary = summarise_seeds([100.0, 1.0, 3.0, 4.0, 5.0, 6.0, 7.0, -50.0])
    assert asdict(summary) == {
        "median": 4.5,
        "interquartile_mean": 4.5,
        "min": -50.0,
        "max": 100.0,
        "std": pytest.approx(np.std([100, 1, 3, 4, 5, 6, 7, -50], ddof=1)),
        "num": 8,
    }
    assert summarise_seeds([2.0]).std is None


@pytest.mark.parametrize(("values", "message"), [([], "no seed"), ([1.0, math.nan], "is nan")])
def test_seeds_without_a_number_are_refused(values: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        summarise_seeds(values)
