"""Bootstrap of sessions, and what it says about scores.

Shape legend: K = strategies, n = returns, B = bootstrap draws.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flag_kedro.backtest.intervals import (
    Difference,
    Interval,
    percentile_interval,
    refuse_not_finite,
    studentised_difference,
)
from flag_kedro.backtest.metrics import TINY_STD
from flag_kedro.backtest.sessions import Measure, Metrics, Sessions
from flag_kedro.backtest.sharpe_tests import measure_sharpe
from flag_kedro.backtest.standard_errors import MIN_DEPENDENT_SESSIONS, hac_error
from flag_kedro.env.account import Floats, Ints
from flag_kedro.errors import DataError
from flag_kedro.names import ANNUAL_VOLATILITY, CUMULATIVE_RETURN, NUM_TRADES, SHARPE_RATIO, TOTAL_RETURN

MIN_DRAWS = 40
"""Fewer cannot show a tail of 2.5 %."""
PART_SIZE = 2**15
"""Drawn sessions measured at once, so that they stay in the processor's cache."""
MIN_QUARTILED = 4
"""Values, below which an interquartile mean would be the plain one."""
COUNTS = (NUM_TRADES,)


def draw_sessions(returns: Floats, num_draws: int, rng_seed: int) -> tuple[Ints, float]:
    """Sessions of each draw of a stationary bootstrap (Politis and Romano 1994), shared by all strategies.

    Blocks have geometric lengths whose mean is chosen automatically (Politis and White 2004, Patton et al. 2009) from
    the series of which a Sharpe ratio's error is the mean, its influence series, whose memory is that of squared
    returns too; the median over the strategies, between 1 and n / 3, since the longest of several noisy choices makes
    tests of short windows reject too often (docs/statistics.md). Returns that never vary or are not finite say nothing
    about it; fewer than 20 sessions are drawn one by one.

    Args:
        returns: of each strategy on the same sessions, [K, n].
        num_draws: B.
        rng_seed: makes the draws.

    Returns:
        Indices of sessions, [B, n], and the mean block length.

    Raises:
        DataError: for fewer than 40 draws or no return.
    """
    if num_draws < MIN_DRAWS:
        raise DataError(f"a 95 % interval needs at least {MIN_DRAWS} bootstrap draws; found {num_draws}")
    num = returns.shape[-1]
    if num == 0:
        raise DataError("there is no return to draw from; the window must have at least two sessions")
    length = _block_length(returns)
    from arch.bootstrap import StationaryBootstrap  # imports for a second, which no other command needs

    bootstrap = StationaryBootstrap(length, np.arange(num), seed=np.random.default_rng(rng_seed))
    return np.stack([bootstrap.update_indices() for _ in range(num_draws)]), length


def _block_length(returns: Floats) -> float:
    num = returns.shape[-1]
    varying = [row for row in returns if np.isfinite(row).all() and row.std() >= TINY_STD]
    if num < MIN_DEPENDENT_SESSIONS or not varying:
        return 1.0
    from arch.bootstrap import optimal_block_length

    influence = measure_sharpe(np.stack(varying)).influence
    suggested = float(optimal_block_length(influence.T)["stationary"].median())
    return float(min(max(suggested, 1.0), num / 3))


def score_intervals(sessions: Sessions, indices: Ints, measure: Measure) -> dict[str, list[float] | None]:
    """95 % intervals of every metric of one path, all from the same draws.

    Percentile intervals cover too little where a mean is concerned (docs/statistics.md), since they know neither the
    error of the estimated deviation nor that of the block length. So `cumulative_return`, `total_return` (compounded
    from it) and `sharpe_ratio` have symmetric studentised intervals, `annual_volatility` one that is symmetric on a log
    scale, the others percentile ones. Resampling shortens the memory of a path, so the interval of a drawdown may lie
    above or below the drawdown seen.

    Args:
        sessions: of the path, [n].
        indices: of `draw_sessions`, [B, n].
        measure: all metrics in the convention wanted.

    Returns:
        `{METRIC_ci95: [low, high]}`, None where over 5 % of the draws leave the metric undefined; counts have none.
    """
    point = {name: float(value) for name, value in measure(sessions).items() if name not in COUNTS}
    intervals: dict[str, Interval | None] = dict.fromkeys(point)
    if not sessions.ruined:
        parts = [_measure_draws(sessions.draw(part), measure) for part in np.array_split(indices, _num_parts(indices))]
        drawn = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        intervals = {name: percentile_interval(drawn[name]) for name in point}
        if sessions.returns.std() >= TINY_STD:
            intervals |= _mean_intervals(point, sessions, drawn)
            intervals[ANNUAL_VOLATILITY] = _volatility_interval(point, sessions, drawn) or intervals[ANNUAL_VOLATILITY]
    return {f"{name}_ci95": None if interval is None else list(interval) for name, interval in intervals.items()}


def _num_parts(indices: Ints) -> int:
    return math.ceil(indices.size / PART_SIZE)


def _measure_draws(drawn: Sessions, measure: Measure) -> Metrics:
    """Metrics of some draws, and the standard errors that studentise three of them, each [B]."""
    errors = {
        "mean_error": hac_error(drawn.returns),
        "sharpe_error": hac_error(measure_sharpe(drawn.excess).influence),
        "log_volatility_error": hac_error(_log_volatility_influence(drawn.returns)),
    }
    return measure(drawn) | errors


def _log_volatility_influence(returns: Floats) -> Floats:
    """How each return [..., n] moves the logarithm of their standard deviation; NaN where nothing varies."""
    squares = (returns - returns.mean(-1, keepdims=True)) ** 2
    variance = squares.mean(-1, keepdims=True)
    return np.asarray((squares / np.where(variance < TINY_STD**2, np.nan, variance) - 1.0) / 2.0)


def _mean_intervals(point: dict[str, float], sessions: Sessions, drawn: Metrics) -> dict[str, Interval | None]:
    """Studentised intervals of the scores that rest on a mean, of a path that varies."""
    mean_error = float(hac_error(sessions.returns))
    cumulative = studentised_difference(
        point[CUMULATIVE_RETURN], drawn[CUMULATIVE_RETURN], mean_error, drawn["mean_error"]
    ).ci95
    sharpe_error = float(hac_error(measure_sharpe(sessions.excess).influence))
    sharpe = studentised_difference(point[SHARPE_RATIO], drawn[SHARPE_RATIO], sharpe_error, drawn["sharpe_error"]).ci95
    total = None if cumulative is None else (math.expm1(cumulative[0]), math.expm1(cumulative[1]))
    return {CUMULATIVE_RETURN: cumulative, TOTAL_RETURN: total, SHARPE_RATIO: sharpe}


def _volatility_interval(point: dict[str, float], sessions: Sessions, drawn: Metrics) -> Interval | None:
    """Studentised interval on a log scale, where the error of a deviation does not grow with it; of a path that varies.

    Davison and Hinkley (1997), "Bootstrap methods and their application", chapter 5.
    """
    error = float(hac_error(_log_volatility_influence(sessions.returns)))
    with np.errstate(divide="ignore"):  # draws that do not vary are left out
        drawn_logs = np.log(drawn[ANNUAL_VOLATILITY])
    value = math.log(point[ANNUAL_VOLATILITY])
    ends = studentised_difference(value, drawn_logs, error, drawn["log_volatility_error"]).ci95
    return None if ends is None else (math.exp(ends[0]), math.exp(ends[1]))


def win_rate_difference(strategy_returns: Floats, benchmark_returns: Floats, indices: Ints) -> Difference:
    """Share of sessions won by the strategy less that of the benchmark, by a paired bootstrap over sessions.

    A session is won when its return is above 0, so a flat session (return 0) is not won. The interval is symmetric
    and excludes 0 exactly when p <= 0.05; equal wins in every session have value 0, interval [0, 0] and p-value 1.
    Studentised, but where over 5 % of the draws never differ in wins, as of a strategy that hardly trades, which would
    otherwise have no test.

    Args:
        strategy_returns: log returns, 0 without a position, [n].
        benchmark_returns: of the same sessions, [n].
        indices: of `draw_sessions`, [B, n].

    Raises:
        DataError: where a return is not finite or the lengths differ.
    """
    refuse_not_finite(strategy_returns, benchmark_returns)
    wins = (strategy_returns > 0.0).astype(np.float64) - (benchmark_returns > 0.0)
    if not wins.any():
        return Difference(0.0, (0.0, 0.0), 1.0)
    drawn = wins[indices]
    value, means = float(wins.mean()), drawn.mean(-1)
    studentised = studentised_difference(value, means, float(hac_error(wins)), hac_error(drawn))
    if studentised.p_value is not None:
        return studentised
    return studentised_difference(value, means, 1.0, np.ones(len(drawn)))


def interquartile_mean(values: Sequence[float]) -> float | None:
    """Mean of what remains without the lowest and the highest quarter (Agarwal et al. 2021, arXiv:2108.13264).

    None for fewer than four values, of which no whole one is a quarter.
    """
    from scipy import stats  # takes long to import

    return float(stats.trim_mean(values, 0.25)) if len(values) >= MIN_QUARTILED else None


@dataclass(frozen=True, kw_only=True)
class SeedSummary:
    """One score over seeds."""

    median: float
    interquartile_mean: float | None
    """None for fewer than four seeds."""
    min: float
    max: float
    std: float | None
    """Of the sample (ddof 1); None for one seed."""
    num: int
    """Seeds."""


def summarise_seeds(values: Sequence[float]) -> SeedSummary:
    """Summarise one score over seeds.

    Raises:
        DataError: where a value is not finite, or there is none.
    """
    array = np.asarray(values, dtype=np.float64)
    if not len(array):
        raise DataError("there is no seed to summarise")
    refuse_not_finite(array)
    return SeedSummary(
        median=float(np.median(array)),
        interquartile_mean=interquartile_mean(values),
        min=float(array.min()),
        max=float(array.max()),
        std=float(array.std(ddof=1)) if len(array) > 1 else None,
        num=len(array),
    )
