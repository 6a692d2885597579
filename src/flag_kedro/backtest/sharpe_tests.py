"""Tests of Sharpe ratios: of a difference (Ledoit and Wolf 2008) and against many trials (Bailey and Lopez de Prado).

Shape legend: n = returns, B = bootstrap draws, ... = any leading axes. Returns are daily log returns, less cash where
there is a cash rate. Sharpe ratios are per session unless called annualised.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flag_kedro.backtest.intervals import LEVEL, Difference, refuse_not_finite, studentised_difference
from flag_kedro.backtest.metrics import TINY_STD
from flag_kedro.backtest.standard_errors import hac_error
from flag_kedro.env.account import Floats, Ints
from flag_kedro.errors import DataError

TINY_RATIO = 1e-10
"""Sharpe ratios and standard errors this close are equal but for rounding."""


@dataclass(frozen=True)
class SharpeRatio:
    """A Sharpe ratio and how each return moves it."""

    value: Floats
    """Mean / std (ddof 1), per session, [...]; NaN where nothing varies."""
    influence: Floats
    """Delta-method influence z - (mean / std) / 2 x (z^2 - 1) with z = (r - mean) / std, std of ddof 0, [..., n]."""


def measure_sharpe(excess: Floats) -> SharpeRatio:
    """Sharpe ratio and influence series of `excess` [..., n]."""
    num = excess.shape[-1]
    mean = excess.mean(-1, keepdims=True)
    deviations = excess - mean
    std = np.sqrt(np.einsum("...i,...i->...", deviations, deviations) / num)[..., None]
    std = np.where(std < TINY_STD, np.nan, std)
    ratio, z = mean / std, deviations / std
    return SharpeRatio(ratio[..., 0] * math.sqrt((num - 1) / num), z - ratio / 2.0 * (z * z - 1.0))


def sharpe_difference(strategy_returns: Floats, benchmark_returns: Floats, days: int, indices: Ints) -> Difference:
    """Annualised difference of two Sharpe ratios with its studentised bootstrap interval and two-sided p-value.

    Ledoit and Wolf (2008), "Robust performance hypothesis testing with the Sharpe ratio": the statistic of each draw
    is |difference* - difference| / se*, where se is the prewhitened HAC error of the difference of influence series.
    The interval is symmetric and excludes 0 exactly when p <= 0.05.

    Series that are equal but for their scale have value 0, interval [0, 0] and p-value 1. Where one of them never
    varies (a flat account) its Sharpe ratio is undefined, and all three are None. Value without interval and
    p-value: more than 5 % of the draws leave one of the series without variation.

    Args:
        strategy_returns: [n].
        benchmark_returns: of the same sessions, [n].
        days: sessions in a year.
        indices: sessions of each draw, [B, n], shared by all that is compared.

    Raises:
        DataError: where a return is not finite or the lengths differ.
    """
    refuse_not_finite(strategy_returns, benchmark_returns)
    return compare_sharpe(
        measure_sharpe(strategy_returns),
        measure_sharpe(benchmark_returns),
        measure_sharpe(strategy_returns[indices]),
        measure_sharpe(benchmark_returns[indices]),
        days,
    )


def compare_sharpe(
    strategy: SharpeRatio,
    benchmark: SharpeRatio,
    drawn_strategy: SharpeRatio,
    drawn_benchmark: SharpeRatio,
    days: int,
) -> Difference:
    """`sharpe_difference` of measured ratios, so that a benchmark's draws are measured once."""
    value = float(strategy.value - benchmark.value)
    if math.isnan(value):
        return Difference(None, None, None)
    error = float(hac_error(strategy.influence - benchmark.influence))
    if abs(value) < TINY_RATIO and error < TINY_RATIO:
        return Difference(0.0, (0.0, 0.0), 1.0)
    drawn_error = hac_error(drawn_strategy.influence - drawn_benchmark.influence)
    drawn = drawn_strategy.value - drawn_benchmark.value
    return studentised_difference(value, drawn, error, drawn_error).scaled(math.sqrt(days))


def sharpe_above_zero(sharpe: SharpeRatio, drawn: SharpeRatio, days: int) -> Difference:
    """Annualised Sharpe ratio with its studentised bootstrap interval and the two-sided p-value of 0.

    As `sharpe_difference`, against an account that never varies and earns what was taken off the returns (cash).

    Args:
        sharpe: of the returns less cash.
        drawn: of each draw of them.
        days: sessions in a year.
    """
    value = float(sharpe.value)
    if math.isnan(value):
        return Difference(None, None, None)
    error, drawn_error = float(hac_error(sharpe.influence)), hac_error(drawn.influence)
    return studentised_difference(value, drawn.value, error, drawn_error).scaled(math.sqrt(days))


def sessions_needed(
    strategy_returns: Floats, benchmark_returns: Floats, power: float = 0.8, level: float = LEVEL
) -> int | None:
    """Length of a window in which this difference of Sharpe ratios would be told from 0.

    n x ((z_{1 - level / 2} + z_power) x se / |difference|)^2 with the HAC error of n sessions, rounded up: the sample
    size of a two-sided z-test, given that difference and error are the true ones.

    Returns:
        Sessions, or None where the difference is 0 or undefined.

    Raises:
        DataError: where a return is not finite or the lengths differ.
    """
    refuse_not_finite(strategy_returns, benchmark_returns)
    return sessions_to_tell_apart(measure_sharpe(strategy_returns), measure_sharpe(benchmark_returns), power, level)


def sessions_to_tell_apart(
    strategy: SharpeRatio, benchmark: SharpeRatio, power: float = 0.8, level: float = LEVEL
) -> int | None:
    """`sessions_needed` of measured ratios."""
    from scipy import stats  # takes long to import

    difference = float(strategy.value - benchmark.value)
    if math.isnan(difference) or abs(difference) < TINY_RATIO:
        return None
    error = float(hac_error(strategy.influence - benchmark.influence))
    quantiles = float(stats.norm.ppf(1.0 - level / 2.0) + stats.norm.ppf(power))
    return math.ceil(len(strategy.influence) * (quantiles * error / difference) ** 2)


def probabilistic_sharpe_ratio(returns: Floats, benchmark_sharpe: float = 0.0) -> float | None:
    """Probability that the true Sharpe ratio exceeds `benchmark_sharpe`, given length, skewness and kurtosis.

    Bailey and Lopez de Prado (2012), "The Sharpe ratio efficient frontier", equation 11. It takes returns for
    independent.

    Args:
        returns: [n].
        benchmark_sharpe: per session.

    Returns:
        Probability, or None where the Sharpe ratio is undefined.

    Raises:
        DataError: where a return is not finite.
    """
    from scipy import stats  # takes long to import

    refuse_not_finite(returns)
    sharpe = float(measure_sharpe(returns).value)
    if math.isnan(sharpe):
        return None
    skewness, kurtosis = float(stats.skew(returns)), float(stats.kurtosis(returns, fisher=False))
    return sharpe_probability(sharpe, benchmark_sharpe, len(returns), skewness, kurtosis)


def sharpe_probability(
    sharpe: float, benchmark_sharpe: float, num_returns: int, skewness: float, kurtosis: float
) -> float | None:
    """Probability that the true Sharpe ratio exceeds the benchmark, from moments.

    The normal one of (SR - benchmark) x sqrt(n - 1) / sqrt(1 - skewness x SR + (kurtosis - 1) / 4 x SR^2).

    Args:
        sharpe: observed, per session.
        benchmark_sharpe: per session.
        num_returns: n.
        skewness: third standardised moment, 0 for a normal distribution.
        kurtosis: fourth standardised moment, 3 for a normal distribution.

    Returns:
        Probability, or None where the ratio has no variance (returns of two values can do that).
    """
    from scipy import stats  # takes long to import

    variance = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    if variance < TINY_RATIO:
        return None
    return float(stats.norm.cdf((sharpe - benchmark_sharpe) * math.sqrt(num_returns - 1) / math.sqrt(variance)))


def min_track_record_length(returns: Floats, benchmark_sharpe: float = 0.0, level: float = LEVEL) -> int | None:
    """Number of returns from which on the probabilistic Sharpe ratio reaches 1 - `level`, all else as in this sample.

    1 + (1 - skewness x SR + (kurtosis - 1) / 4 x SR^2) x (z_{1 - level} / (SR - benchmark))^2, rounded up (Bailey and
    Lopez de Prado 2012, equation 13).

    Args:
        returns: [n].
        benchmark_sharpe: per session.
        level: of a one-sided test.

    Returns:
        Returns, or None where the ratio does not exceed the benchmark, is undefined, or has no variance.

    Raises:
        DataError: where a return is not finite.
    """
    from scipy import stats  # takes long to import

    refuse_not_finite(returns)
    sharpe = float(measure_sharpe(returns).value)
    if math.isnan(sharpe) or sharpe <= benchmark_sharpe:
        return None
    skewness, kurtosis = float(stats.skew(returns)), float(stats.kurtosis(returns, fisher=False))
    variance = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    if variance < TINY_RATIO:
        return None
    return math.ceil(1.0 + variance * (float(stats.norm.ppf(1.0 - level)) / (sharpe - benchmark_sharpe)) ** 2)


def deflated_sharpe_ratio(
    returns: Floats, trial_sharpes: Sequence[float], tried_sharpes: Sequence[float] = (), correlation: float = 0.0
) -> float | None:
    """Probability that the true Sharpe ratio exceeds what the best of so many worthless trials would show.

    Bailey and Lopez de Prado (2014), "The deflated Sharpe ratio": the probabilistic Sharpe ratio against
    `expected_maximum_sharpe` of `effective_trials`.

    What was tried on other sessions only (validation) and chosen from is a trial too, whose Sharpe ratio here is not
    known: it counts in N, and for V its ratio on those sessions stands in. As markets differ between windows, V is the
    variance within the two kinds, pooled: of each kind about its own mean, kinds of one trial saying nothing. V is at
    least 1 / n, the variance of the ratio of independent returns whose true ratio is 0: trials that happen to have
    equal ratios are trials nevertheless.

    Args:
        returns: [n].
        trial_sharpes: Sharpe ratios per session (not annualised) of all distinct trials, this one included.
        tried_sharpes: the same of what was tried on other sessions only.
        correlation: mean correlation of the returns of `trial_sharpes`.

    Raises:
        DataError: where a return or a trial is not finite, or there is no trial.
    """
    kinds = [np.asarray(sharpes, dtype=np.float64) for sharpes in (trial_sharpes, tried_sharpes)]
    for kind in kinds:
        refuse_not_finite(kind)
    if not trial_sharpes:
        raise DataError(
            "the deflated Sharpe ratio needs the Sharpe ratios of all trials, this one included; found none"
        )
    freedom = sum(max(0, len(kind) - 1) for kind in kinds)
    squares = sum(float(((kind - kind.mean()) ** 2).sum()) for kind in kinds if len(kind))
    variance = max(squares / freedom if freedom else 0.0, 1.0 / len(returns))
    num_trials = effective_trials(len(trial_sharpes), len(tried_sharpes), correlation)
    return probabilistic_sharpe_ratio(returns, expected_maximum_sharpe(num_trials, variance))


def effective_trials(num_scored: int, num_validated: int = 0, correlation: float = 0.0) -> float:
    """Number of independent trials that so many correlated ones are worth.

    c + (1 - c) x N with c the mean correlation of their returns (Bailey and Lopez de Prado 2014, appendix A.3); trials
    whose returns on the window nobody knows count as independent.

    Args:
        num_scored: N, at least 1.
        num_validated: tried on other sessions only.
        correlation: c, between 0 and 1.
    """
    return correlation + (1.0 - correlation) * num_scored + num_validated


def expected_maximum_sharpe(num_trials: float, variance: float) -> float:
    """Sharpe ratio to expect of the best of independent trials with a true one of 0.

    sqrt(V) x ((1 - g) z(1 - 1 / N) + g z(1 - 1 / (N e))), with g the Euler-Mascheroni constant and z the normal
    quantile; 0 for one trial, and never below.

    Args:
        num_trials: N, not necessarily whole.
        variance: V, of the trials' Sharpe ratios per session.
    """
    from scipy import stats  # takes long to import

    if num_trials <= 1.0:
        return 0.0
    first, second = stats.norm.ppf([1.0 - 1.0 / num_trials, 1.0 - 1.0 / (num_trials * math.e)])
    return max(0.0, float(math.sqrt(variance) * ((1.0 - np.euler_gamma) * first + np.euler_gamma * second)))
