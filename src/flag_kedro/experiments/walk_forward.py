"""Scores of out-of-sample paths, their intervals, and a test against buy and hold.

Shape legend: K = seeds, n = returns of all folds together, B = bootstrap draws.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flag_kedro.backtest import metrics
from flag_kedro.backtest.inference import SeedSummary, draw_sessions, score_intervals
from flag_kedro.backtest.intervals import Difference
from flag_kedro.backtest.sessions import Measure, Metrics, Sessions
from flag_kedro.backtest.sharpe_tests import sharpe_difference
from flag_kedro.data.streams import derived_seed
from flag_kedro.env.account import Floats, Ints
from flag_kedro.experiments.out_of_sample import OutOfSamplePath, finite_or_none
from flag_kedro.experiments.seeds import summarise_defined
from flag_kedro.names import BENCHMARK, POLICY

UNDEFINED = Difference(None, None, None)


@dataclass(frozen=True)
class FoldSummary:
    """Scores within one fold; saved as JSON in this order."""

    seeds: dict[str, SeedSummary | None]
    """Each score of the policy over seeds."""
    buy_and_hold: dict[str, float | None]


@dataclass(frozen=True)
class OutOfSampleSummary:
    """Scores of one path; saved as JSON in this order."""

    num_returns: int
    block_length: float | None
    """Mean block of the bootstrap in sessions; None where every strategy was ruined."""
    strategies: dict[str, dict[str, float | list[float] | None]]
    """By strategy, scores of the mean over seeds of daily log returns, and `METRIC_ci95`, their 95 % intervals."""
    sharpe_difference: Difference
    """Annualised Sharpe ratio less that of buy and hold, by a studentised bootstrap."""
    seeds: dict[str, SeedSummary | None]
    """Each score over the seeds' own paths."""
    folds: dict[str, FoldSummary]


def summarise_folds(paths: Mapping[str, OutOfSamplePath], num_draws: int, seed: int) -> dict[str, OutOfSampleSummary]:
    """Scores of every path, by symbol and under `all`.

    The bootstrap draws sessions across the borders of folds. A mean over seeds is a portfolio of them, which varies
    less than each: its Sharpe ratio may lie above all of theirs.

    Args:
        paths: of `out_of_sample.concatenate_folds`.
        num_draws: B.
        seed: of the draws.

    Raises:
        DataError: for fewer draws than an interval needs, or a path without a return.
    """
    return {symbol: _summarise(symbol, path, num_draws, seed) for symbol, path in paths.items()}


def _summarise(symbol: str, path: OutOfSamplePath, num_draws: int, seed: int) -> OutOfSampleSummary:
    measure = _measure_with(path.days)
    policy, benchmark = (_to_sessions(path.returns[name].mean(0), path.cash) for name in (POLICY, BENCHMARK))
    solvent = [sessions.excess for sessions in (policy, benchmark) if not sessions.ruined]
    block_length, difference = None, UNDEFINED
    indices: Ints = np.zeros((0, 0), dtype=np.int64)
    if solvent:
        indices, block_length = draw_sessions(np.stack(solvent), num_draws, derived_seed(seed, "bootstrap", symbol))
    if len(solvent) == 2:
        difference = sharpe_difference(policy.excess, benchmark.excess, path.days, indices)
    return OutOfSampleSummary(
        num_returns=len(path.sessions),
        block_length=block_length,
        strategies={
            name: {**_scores(sessions, measure), **score_intervals(sessions, indices, measure)}
            for name, sessions in ((POLICY, policy), (BENCHMARK, benchmark))
        },
        sharpe_difference=difference,
        seeds=_score_seeds(path, measure),
        folds={fold: _summarise_fold(path.within(fold), measure) for fold in dict.fromkeys(path.fold)},
    )


def _summarise_fold(path: OutOfSamplePath, measure: Measure) -> FoldSummary:
    benchmark = _scores(_to_sessions(path.returns[BENCHMARK][0], path.cash), measure)
    return FoldSummary(_score_seeds(path, measure), benchmark)


def _score_seeds(path: OutOfSamplePath, measure: Measure) -> dict[str, SeedSummary | None]:
    """Each score over seeds; a score is None where it is defined for no seed, and `num` says for how many it is."""
    by_seed = [_scores(_to_sessions(returns, path.cash), measure) for returns in path.returns[POLICY]]
    return {name: summarise_defined([scores[name] for scores in by_seed]) for name in by_seed[0]}


def _measure_with(days: int) -> Measure:
    """The metrics of a path, annualised by `days` sessions of a year."""

    def measure(sessions: Sessions) -> Metrics:
        returns = sessions.returns
        return {
            "cumulative_return": metrics.cumulative_return(returns),
            "total_return": metrics.total_return(returns),
            "sharpe_ratio": metrics.sharpe_ratio(sessions.excess, days),
            "annual_volatility": metrics.annual_volatility(returns, days),
            "max_drawdown": metrics.max_drawdown(metrics.equity_path(returns)),
        }

    return measure


def _to_sessions(returns: Floats, cash: Floats) -> Sessions:
    """Log returns [n] as sessions that can be drawn; they end where everything was lost."""
    ruins = np.flatnonzero(np.isneginf(returns))
    if len(ruins):
        returns, cash = returns[: ruins[0] + 1], cash[: ruins[0] + 1]
    ones = np.ones(len(returns))
    return Sessions(returns, returns - cash, ones > 0, ones, 0 * ones, ones, 1.0)


def _scores(sessions: Sessions, measure: Measure) -> dict[str, float | None]:
    with np.errstate(invalid="ignore"):
        return {name: finite_or_none(float(value)) for name, value in measure(sessions).items()}
