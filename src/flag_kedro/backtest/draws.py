"""Bootstrap draws that all strategies share, and the intervals of all scores from them.

Shape legend: n = returns of a symbol's window, B = bootstrap draws.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from flag_kedro.backtest.config import Convention
from flag_kedro.backtest.inference import draw_sessions, score_intervals
from flag_kedro.backtest.scores import Scores, path_sessions, strategy_sessions
from flag_kedro.backtest.sessions import Sessions
from flag_kedro.data.streams import derived_seed
from flag_kedro.env.account import Floats, Ints
from flag_kedro.errors import DataError
from flag_kedro.names import BENCHMARK

IntervalScores = dict[str, float | int | list[float] | None]
"""Scores by metric, and the interval `[low, high]` of each as `METRIC_ci95`."""
Cash = Mapping[str, Floats]
Paths = dict[str, dict[str, Sessions]]
"""By symbol and strategy."""


@dataclass(frozen=True)
class Draws:
    """Bootstrap draws of every symbol's sessions, shared by all strategies."""

    num_draws: int
    seed: int
    indices: Mapping[str, Ints]
    """Sessions of each draw, [B, n] a symbol."""
    block_length: Mapping[str, float]
    """Mean sessions in a block."""


def draw_windows(equity: pl.DataFrame, num_draws: int, seed: int, cash_returns: Cash | None = None) -> Draws:
    """Draw the sessions of every symbol anew, each symbol from a stream of its own.

    Args:
        equity: columns of `replay.EQUITY`, with `buy_and_hold` among the strategies.
        num_draws: B.
        seed: of the run.
        cash_returns: log return of cash, [n] a symbol: what earns interest alone has no say in the block length.

    Raises:
        DataError: as `inference.draw_sessions`, or where a path misses sessions.
    """
    drawn = {}
    for symbol, paths in sessions_by_path(equity, cash_returns).items():
        whole = np.stack([path.excess for path in paths.values() if not path.ruined])
        drawn[symbol] = draw_sessions(whole, num_draws, derived_seed(seed, "bootstrap", symbol))
    indices = {symbol: drawn_indices for symbol, (drawn_indices, _) in drawn.items()}
    return Draws(num_draws, seed, indices, {symbol: length for symbol, (_, length) in drawn.items()})


def add_intervals(
    results: Mapping[str, Mapping[str, Scores]],
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    marks: Mapping[str, Floats],
    calendars: Mapping[str, str],
    convention: Convention,
    draws: Draws,
    cash_returns: Cash | None = None,
    *,
    long_short: bool = False,
) -> dict[str, dict[str, IntervalScores]]:
    """Return `results` of `score_strategies` with `METRIC_ci95` beside each metric; other arguments as there."""
    complete: dict[str, dict[str, IntervalScores]] = {symbol: {} for symbol in results}
    for symbol, strategy, sessions, measure in strategy_sessions(
        decisions, equity, marks, calendars, convention, cash_returns, long_short=long_short
    ):
        intervals = score_intervals(sessions, draws.indices[symbol], measure)
        complete[symbol][strategy] = {**results[symbol][strategy], **intervals}
    return complete


def sessions_by_path(equity: pl.DataFrame, cash_returns: Cash | None) -> Paths:
    """Sessions of every symbol and strategy.

    Raises:
        DataError: where buy and hold is missing, or a path that was not ruined has fewer sessions than it.
    """
    paths: Paths = {}
    for (symbol, strategy), path in equity.group_by("symbol", "strategy", maintain_order=True):
        cash = None if cash_returns is None else cash_returns[str(symbol)]
        paths.setdefault(str(symbol), {})[str(strategy)] = path_sessions(path, cash)
    for symbol, by_strategy in paths.items():
        if BENCHMARK not in by_strategy:
            raise DataError(
                f"{symbol} has no {BENCHMARK} to compare with, only {', '.join(by_strategy)}; replay it as well"
            )
        num = len(by_strategy[BENCHMARK].returns)
        for strategy, sessions in by_strategy.items():
            if len(sessions.returns) != num and not sessions.ruined:
                raise DataError(
                    f"{strategy} has {len(sessions.returns)} returns on {symbol}, {BENCHMARK} {num}; replay one window"
                )
    return paths
