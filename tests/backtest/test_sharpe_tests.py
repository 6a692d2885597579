"""Sharpe ratios compared, against plain loops, published numbers and hand-worked series."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from flag_kedro.backtest.inference import draw_sessions
from flag_kedro.backtest.intervals import Difference
from flag_kedro.backtest.sharpe_tests import (
    deflated_sharpe_ratio,
    effective_trials,
    expected_maximum_sharpe,
    measure_sharpe,
    min_track_record_length,
    probabilistic_sharpe_ratio,
    sessions_needed,
    sharpe_above_zero,
    sharpe_difference,
    sharpe_probability,
)
from flag_kedro.data.streams import stream
from flag_kedro.errors import DataError

SEEDS = st.integers(0, 2**32 - 1)


def _pair(seed: int, num: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correlated series and shared draws."""
    rng = np.random.default_rng(seed)
    market = rng.normal(0.0005, 0.01, num)
    strategy = 0.5 * market + rng.normal(0.0005, 0.008, num)
    indices, _ = draw_sessions(np.stack([strategy, market]), 199, seed)
    return strategy, market, indices


def _slow_error(strategy: np.ndarray, benchmark: np.ndarray) -> float:
    """Ledoit and Wolf, section 3.1: gradient of the difference in the four moments, its series prewhitened in loops."""
    num = len(strategy)
    means = [math.fsum(x) / num for x in (strategy, benchmark, strategy**2, benchmark**2)]
    rows = [
        [strategy[t] - means[0], benchmark[t] - means[1], strategy[t] ** 2 - means[2], benchmark[t] ** 2 - means[3]]
        for t in range(num)
    ]
    variances = means[2] - means[0] ** 2, means[3] - means[1] ** 2
    gradient = [
        means[2] / variances[0] ** 1.5,
        -means[3] / variances[1] ** 1.5,
        -0.5 * means[0] / variances[0] ** 1.5,
        0.5 * means[1] / variances[1] ** 1.5,
    ]
    series = [sum(gradient[i] * row[i] for i in range(4)) for row in rows]
    coefficient = sum(series[t] * series[t - 1] for t in range(1, num)) / sum(x * x for x in series[:-1])
    residuals = [series[t] - coefficient * series[t - 1] for t in range(1, num)]
    num_lags = math.floor(4 * ((num - 1) / 100) ** (2 / 9))
    long_run = 0.0
    for lag in range(-num_lags, num_lags + 1):
        weight = 1.0 - abs(lag) / (num_lags + 1)
        for t in range(max(0, lag), min(num - 1, num - 1 + lag)):
            long_run += weight * residuals[t] * residuals[t - lag] / (num - 1)
    return math.sqrt(long_run / num) / (1.0 - coefficient)


def _slow_ratio(returns: np.ndarray) -> float:
    return float(np.mean(returns) / np.std(returns, ddof=1))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_difference_agrees_with_a_plain_loop_over_draws(seed: int) -> None:
    strategy, market, indices = _pair(seed, num=40)
    value = _slow_ratio(strategy) - _slow_ratio(market)
    error = _slow_error(strategy, market)
    extreme, statistics = 1, []
    for draw in indices:
        drawn = _slow_ratio(strategy[draw]) - _slow_ratio(market[draw])
        statistics.append(abs(drawn - value) / _slow_error(strategy[draw], market[draw]))
        extreme += statistics[-1] >= abs(value) / error
    width = sorted(statistics, reverse=True)[9] * error  # the tenth of 199 draws: 5 % of 200
    difference = sharpe_difference(strategy, market, 252, indices)
    assert difference.value == pytest.approx(value * math.sqrt(252), rel=1e-9)
    assert difference.p_value == extreme / 200
    assert difference.ci95 == pytest.approx(
        ((value - width) * math.sqrt(252), (value + width) * math.sqrt(252)), rel=1e-9, abs=1e-9
    )


@given(seed=SEEDS)
def test_interval_excludes_zero_exactly_where_the_p_value_is_at_most_five_percent(seed: int) -> None:
    rng = np.random.default_rng(seed)
    strategy, market = rng.normal(rng.uniform(0, 0.006), 0.01, 60), rng.normal(0.0, 0.01, 60)
    difference = sharpe_difference(strategy, market, 252, rng.integers(0, 60, (199, 60)))
    assert difference.ci95 is not None
    assert difference.p_value is not None
    assert (difference.ci95[0] > 0.0 or difference.ci95[1] < 0.0) == (difference.p_value <= 0.05)


@given(seed=SEEDS, scales=st.tuples(st.floats(0.01, 100.0), st.floats(0.01, 100.0)))
def test_difference_does_not_depend_on_the_scale_of_either_series(seed: int, scales: tuple[float, float]) -> None:
    strategy, market, indices = _pair(seed)
    plain = sharpe_difference(strategy, market, 252, indices)
    scaled = sharpe_difference(scales[0] * strategy, scales[1] * market, 252, indices)
    assert scaled.value == pytest.approx(plain.value, rel=1e-9, abs=1e-9)
    assert scaled.ci95 == pytest.approx(plain.ci95, rel=1e-9, abs=1e-9)
    assert scaled.p_value == pytest.approx(plain.p_value, abs=1 / 199)


@given(seed=SEEDS)
def test_difference_changes_its_sign_with_the_order_of_the_series(seed: int) -> None:
    strategy, market, indices = _pair(seed)
    there, back = sharpe_difference(strategy, market, 252, indices), sharpe_difference(market, strategy, 252, indices)
    assert there.value == -(back.value or 0.0)
    assert there.p_value == back.p_value
    assert there.ci95 == pytest.approx((-back.ci95[1], -back.ci95[0]), rel=1e-12)  # type: ignore[index]


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_equal_series_do_not_differ_whatever_their_scale(scale: float) -> None:
    strategy, _, indices = _pair(0)
    assert sharpe_difference(strategy, scale * strategy, 252, indices) == Difference(0.0, (0.0, 0.0), 1.0)
    assert sessions_needed(strategy, scale * strategy) is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("constant", [0.0, 0.001])
def test_series_that_never_varies_has_no_difference(constant: float) -> None:
    strategy, market, indices = _pair(0)
    flat = np.full(len(market), constant)
    for pair in ((flat, market), (strategy, flat), (flat, flat)):
        assert sharpe_difference(*pair, 252, indices) == Difference(None, None, None)
        assert sessions_needed(*pair) is None
    assert probabilistic_sharpe_ratio(flat, 0.0) is None


@pytest.mark.filterwarnings("error")
def test_series_that_most_draws_leave_without_variation_has_a_value_but_no_test() -> None:
    _, market, indices = _pair(0)
    once = np.zeros(len(market))
    once[3] = 0.01
    difference = sharpe_difference(once, market, 252, indices)
    assert difference.value is not None
    assert (difference.ci95, difference.p_value) == (None, None)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_returns_that_are_not_finite_are_refused(bad: float) -> None:
    strategy, market, indices = _pair(0)
    broken = strategy.copy()
    broken[7] = bad
    for call in (
        lambda: sharpe_difference(broken, market, 252, indices),
        lambda: sharpe_difference(strategy, broken, 252, indices),
        lambda: sessions_needed(broken, market),
        lambda: probabilistic_sharpe_ratio(broken, 0.0),
        lambda: deflated_sharpe_ratio(strategy, [0.1, bad]),
    ):
        with pytest.raises(DataError, match=str(bad)):
            call()
    with pytest.raises(DataError, match="same sessions"):
        sharpe_difference(strategy[1:], market, 252, indices)


def _rejections(mean: float, num_windows: int) -> float:
    """Share of windows of 100 sessions in which the test tells normal returns of `mean` from those of 0.05."""
    rejected = 0
    for seed in range(num_windows):
        rng = np.random.default_rng([1, seed])
        market = rng.normal(0.05, 1.0, 100)
        strategy = mean + 0.5 * (market - 0.05) + math.sqrt(0.75) * rng.normal(size=100)
        indices, _ = draw_sessions(np.stack([strategy, market]), 199, seed)
        rejected += (sharpe_difference(strategy, market, 252, indices).p_value or 1.0) <= 0.05
    return rejected / num_windows


def test_equal_sharpe_ratios_are_rejected_about_as_often_as_the_level_says() -> None:
    assert 0.02 <= _rejections(mean=0.05, num_windows=300) <= 0.09  # 0.05 +- three standard errors


def test_clear_difference_is_found() -> None:
    assert _rejections(mean=0.55, num_windows=40) >= 0.95


@given(seed=SEEDS, num=st.integers(2, 300))
def test_influence_has_mean_zero_and_the_ratio_is_mean_over_deviation(seed: int, num: int) -> None:
    returns = np.random.default_rng(seed).normal(0.001, 0.01, num)
    measured = measure_sharpe(returns)
    assert measured.value == pytest.approx(_slow_ratio(returns), rel=1e-9)
    assert measured.influence.mean() == pytest.approx(0.0, abs=1e-9)


def test_sessions_needed_let_the_test_find_the_difference_with_the_power_asked_for() -> None:
    # z_0.975 + z_0.8 = 1.959964 + 0.841621
    strategy, market, _ = _pair(3)
    ratio = _slow_error(strategy, market) / (_slow_ratio(strategy) - _slow_ratio(market))
    assert sessions_needed(strategy, market) == math.ceil(80 * (2.801585 * ratio) ** 2)


def test_more_power_needs_more_sessions_and_a_laxer_level_fewer() -> None:
    strategy, market, _ = _pair(3, num=400)
    needed = sessions_needed(strategy, market) or 0
    assert (sessions_needed(strategy, market, power=0.9) or 0) > needed
    assert (sessions_needed(strategy, market, level=0.1) or 0) < needed


# Probabilistic and deflated Sharpe ratios


def test_deflated_sharpe_ratio_of_the_published_example() -> None:
    """Bailey and Lopez de Prado (2014), "A numerical example": annual Sharpe ratio 2.5, 1,250 days, 250 a year."""
    sharpe, variance = 2.5 / math.sqrt(250), 0.5 / 250
    assert expected_maximum_sharpe(100, variance) == pytest.approx(0.1132, abs=5e-5)
    for num_trials, skewness, kurtosis, printed in (
        (100, -3.0, 10.0, 0.9004),
        (46, -3.0, 10.0, 0.9505),
        (88, 0.0, 3.0, 0.9505),
    ):
        benchmark = expected_maximum_sharpe(num_trials, variance)
        assert sharpe_probability(sharpe, benchmark, 1_250, skewness, kurtosis) == pytest.approx(printed, abs=5e-5)


@pytest.mark.parametrize("num_trials", [10, 100, 1_000])
def test_expected_maximum_is_near_that_of_normal_variables(num_trials: int) -> None:
    def density(x: float) -> float:
        return float(x * num_trials * stats.norm.pdf(x) * stats.norm.cdf(x) ** (num_trials - 1))

    exact, _ = integrate.quad(density, -10.0, 10.0)
    assert expected_maximum_sharpe(num_trials, 4.0) == pytest.approx(2.0 * exact, rel=0.03)


def test_probabilistic_sharpe_ratio_of_two_values_is_as_worked_by_hand() -> None:
    # 3 % and -2 % eight times each: mean / std (ddof 1) = 0.2 sqrt(15 / 16), skewness 0, kurtosis 1, so the
    # statistic is 0.2 sqrt(15 / 16) sqrt(15) = 0.75
    assert probabilistic_sharpe_ratio(np.array([0.03, -0.02] * 8), 0.0) == pytest.approx(0.7733726, abs=1e-7)


@pytest.mark.filterwarnings("error")
def test_one_trial_is_not_deflated_and_more_trials_deflate_more() -> None:
    strategy, _, _ = _pair(3)
    ratio = _slow_ratio(strategy)
    plain = probabilistic_sharpe_ratio(strategy, 0.0)
    few = deflated_sharpe_ratio(strategy, [ratio, ratio - 0.2, ratio - 0.1])
    many = deflated_sharpe_ratio(strategy, [ratio, ratio - 0.2, ratio - 0.1] * 10)
    assert deflated_sharpe_ratio(strategy, [ratio]) == plain
    assert plain > few > many  # type: ignore[operator]


def test_deflating_needs_a_trial() -> None:
    with pytest.raises(DataError, match="found none"):
        deflated_sharpe_ratio(_pair(0)[0], [])


def test_returns_that_leave_the_ratio_without_variance_have_no_probability() -> None:
    # skewness 2, kurtosis 5, SR 1: 1 - 2 + 1 = 0
    assert sharpe_probability(1.0, 0.0, 100, 2.0, 5.0) is None


def test_what_was_only_tried_on_validation_counts_with_the_variance_within_each_kind() -> None:
    """Scored 0.1 and 0.3 (squares about their mean 0.02), tried 1.0, 1.2 and 1.4 (0.08): V = 0.10 / 3, N = 5."""
    returns = np.random.default_rng(0).normal(0.001, 0.01, 120)
    expected = probabilistic_sharpe_ratio(returns, expected_maximum_sharpe(5, 0.1 / 3))
    assert deflated_sharpe_ratio(returns, [0.1, 0.3], [1.0, 1.2, 1.4]) == pytest.approx(expected)
    level_shift = deflated_sharpe_ratio(returns, [0.1, 0.3], [9.0, 9.2, 9.4])
    assert level_shift == pytest.approx(expected)  # another market on validation is no spread of trials


def test_one_score_and_one_attempt_spread_as_chance_would() -> None:
    returns = np.random.default_rng(0).normal(0.001, 0.01, 120)
    expected = probabilistic_sharpe_ratio(returns, expected_maximum_sharpe(2, 1 / 120))
    assert deflated_sharpe_ratio(returns, [0.1], [0.7]) == pytest.approx(expected)
    assert deflated_sharpe_ratio(returns, [0.1]) == probabilistic_sharpe_ratio(returns)


# Trials that are not independent


def test_effective_trials_lie_between_one_and_all_of_them() -> None:
    assert effective_trials(50) == 50.0
    assert effective_trials(50, correlation=1.0) == 1.0
    assert effective_trials(50, 3, correlation=0.9) == pytest.approx(0.9 + 5.0 + 3.0)


def test_trials_of_equal_ratios_deflate_unless_they_are_one_and_the_same() -> None:
    """Fifty that happen to be equal have no variance, but were tried all the same."""
    returns = stream(0, "equal").normal(0.1, 1.0, 150)
    probabilistic = probabilistic_sharpe_ratio(returns)
    ratio = float(returns.mean() / returns.std(ddof=1))
    independent = deflated_sharpe_ratio(returns, [ratio] * 50)
    assert independent == pytest.approx(probabilistic_sharpe_ratio(returns, expected_maximum_sharpe(50, 1 / 150)))
    assert independent < 0.5 * probabilistic
    assert deflated_sharpe_ratio(returns, [ratio] * 50, correlation=1.0) == probabilistic
    half = deflated_sharpe_ratio(returns, [ratio] * 50, correlation=0.5)
    assert independent < half < probabilistic


def test_track_record_of_the_least_length_has_a_probability_of_nineteen_in_twenty() -> None:
    """The number of returns at which the probabilistic ratio of the same moments crosses 0.95."""
    returns = stream(3, "record").normal(0.1, 1.0, 400)
    needed = min_track_record_length(returns)
    sharpe, skewness, kurtosis = (
        float(returns.mean() / returns.std(ddof=1)), float(stats.skew(returns)), float(stats.kurtosis(returns) + 3.0)
    )  # fmt: skip
    at, before = (sharpe_probability(sharpe, 0.0, num, skewness, kurtosis) for num in (needed, needed - 1))
    assert before < 0.95 <= at
    assert min_track_record_length(-returns) is None
    assert min_track_record_length(np.zeros(9)) is None


def test_sharpe_ratio_against_cash_is_that_against_a_known_zero() -> None:
    """The interval excludes 0 exactly when p <= 0.05, and p is near that of a t-test where returns are independent."""
    for mean, seed in ((0.05, 1), (0.2, 2), (0.3, 3)):
        returns = stream(seed, "cash").normal(mean, 1.0, 200)
        indices, _ = draw_sessions(returns[None], 2_000, seed)
        found = sharpe_above_zero(measure_sharpe(returns), measure_sharpe(returns[indices]), 252)
        assert found.value == pytest.approx(returns.mean() / returns.std(ddof=1) * np.sqrt(252))
        assert (found.p_value <= 0.05) is not (found.ci95[0] <= 0.0 <= found.ci95[1])
        assert found.p_value == pytest.approx(stats.ttest_1samp(returns, 0.0).pvalue, abs=0.05)
    assert sharpe_above_zero(measure_sharpe(np.zeros(5)), measure_sharpe(np.zeros((3, 5))), 252).value is None
