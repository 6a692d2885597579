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
from flag_kedro.backtest.sharpe_tests import hac_error, measure_sharpe
from flag_kedro.env.account import Floats, Ints
from flag_kedro.errors import DataError
from flag_kedro.names import CUMULATIVE_RETURN, NUM_TRADES, SHARPE_RATIO, TOTAL_RETURN

MIN_DRAWS = 40
"""Fewer cannot show a tail of 2.5 %."""
MIN_BLOCK_SESSIONS = 20
"""Fewer returns say nothing of their dependence; they are drawn one by one."""
PART_SIZE = 2**15
"""Drawn sessions measured at once, so that they stay in the processor's cache."""
COUNTS = (NUM_TRADES,)


def draw_sessions(returns: Floats, num_draws: int, rng_seed: int) -> tuple[Ints, float]:
    """Sessions of each draw of a stationary bootstrap (Politis and Romano 1994), shared by all strategies.

    Blocks have geometric lengths whose mean is chosen automatically (Politis and White 2004, Patton et al. 2009) from
    the series of which a Sharpe ratio's error is the mean, its influence series, whose memory is that of squared
    returns too; the longest over the strategies, between 1 and n / 3. Returns that never vary or are not finite say
    nothing about it.

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
    if num < MIN_BLOCK_SESSIONS or not varying:
        return 1.0
    from arch.bootstrap import optimal_block_length

    influence = measure_sharpe(np.stack(varying)).influence
    suggested = float(optimal_block_length(influence.T)["stationary"].max())
    return float(min(max(suggested, 1.0), num / 3))


def score_intervals(sessions: Sessions, indices: Ints, measure: Measure) -> dict[str, list[float] | None]:
    """95 % intervals of every metric of one path, all from the same draws.

    Percentile intervals cover too little where a mean is concerned (docs/experiments.md), since they know neither the
    error of the estimated deviation nor that of the block length. So `cumulative_return`, `total_return`
    (compounded from it) and `sharpe_ratio` have symmetric studentised intervals, the others percentile ones.
    Resampling shortens the memory of a path, so the interval of a drawdown may lie above or below the drawdown seen.

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
    return {f"{name}_ci95": None if interval is None else list(interval) for name, interval in intervals.items()}


def _num_parts(indices: Ints) -> int:
    return math.ceil(indices.size / PART_SIZE)


def _measure_draws(drawn: Sessions, measure: Measure) -> Metrics:
    """Metrics of some draws, and the standard errors that studentise two of them, each [B]."""
    errors = {"mean_error": hac_error(drawn.returns), "sharpe_error": hac_error(measure_sharpe(drawn.excess).influence)}
    return measure(drawn) | errors


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


def win_rate_difference(strategy_returns: Floats, benchmark_returns: Floats, indices: Ints) -> Difference:
    """Share of sessions won by the strategy less that of the benchmark, by a paired bootstrap over sessions.

    A session is won when its return is above 0, so a flat session (return 0) is not won. The interval is symmetric
    and excludes 0 exactly when p <= 0.05; equal wins in every session have value 0, interval [0, 0] and p-value 1.

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
    drawn = wins[indices].mean(-1)
    return studentised_difference(float(wins.mean()), drawn, 1.0, np.ones(len(drawn)))


def interquartile_mean(values: Sequence[float]) -> float:
    """Mean of what remains without the lowest and the highest quarter (Agarwal et al. 2021, arXiv:2108.13264)."""
    from scipy import stats  # takes long to import

    return float(stats.trim_mean(values, 0.25))


@dataclass(frozen=True, kw_only=True)
class SeedSummary:
    """One score over seeds."""

    median: float
    interquartile_mean: float
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
