"""Judgement of every strategy against buy and hold, and intervals of all scores, from shared draws.

Shape legend: n = returns of a symbol's window, B = bootstrap draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from flag_kedro.backtest.collapse import detect_collapse, is_proven_ahead, verdict
from flag_kedro.backtest.config import Convention
from flag_kedro.backtest.inference import draw_sessions, score_intervals, win_rate_difference
from flag_kedro.backtest.intervals import CONFIDENCE, Difference
from flag_kedro.backtest.scores import Scores, days_per_year, path_sessions, strategy_sessions
from flag_kedro.backtest.sessions import Sessions
from flag_kedro.backtest.sharpe_tests import (
    SharpeRatio,
    compare_sharpe,
    deflated_sharpe_ratio,
    measure_sharpe,
    probabilistic_sharpe_ratio,
    sessions_to_tell_apart,
)
from flag_kedro.data.streams import derived_seed
from flag_kedro.env.account import ACTION_NAMES, Floats, Ints
from flag_kedro.env.evaluation import target_positions
from flag_kedro.errors import DataError

BENCHMARK = "buy_and_hold"
UNDEFINED = Difference(None, None, None)

Cash = Mapping[str, Floats]
Paths = dict[str, dict[str, Sessions]]


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
    for symbol, paths in _paths(equity, cash_returns).items():
        whole = np.stack([path.excess for path in paths.values() if not path.ruined])
        drawn[symbol] = draw_sessions(whole, num_draws, derived_seed(seed, "bootstrap", symbol))
    indices = {symbol: found for symbol, (found, _) in drawn.items()}
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
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return `results` of `score_strategies` with `METRIC_ci95` beside each metric; other arguments as there."""
    complete: dict[str, dict[str, dict[str, Any]]] = {
        symbol: {strategy: dict(scores) for strategy, scores in strategies.items()}
        for symbol, strategies in results.items()
    }
    for symbol, strategy, sessions, measure in strategy_sessions(
        decisions, equity, marks, calendars, convention, cash_returns, long_short=long_short
    ):
        complete[symbol][strategy] |= score_intervals(sessions, draws.indices[symbol], measure)
    return complete


def compare_to_benchmark(
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    calendars: Mapping[str, str],
    draws: Draws,
    *,
    trial_sharpes: Mapping[str, Sequence[float]] | None,
    tried_sharpes: Mapping[str, Sequence[float]] | None = None,
    shift_percentiles: Mapping[str, Mapping[str, float | None]],
    cash_returns: Cash | None = None,
    long_short: bool = False,
    policy: str = "flag_trader",
) -> dict[str, Any]:
    """Judge every strategy against buy and hold on its equity path after costs.

    Args:
        decisions: columns of `replay.DECISIONS`.
        equity: columns of `replay.EQUITY`, with `buy_and_hold` among the strategies.
        calendars: exchange calendar of each symbol.
        draws: of `draw_windows`.
        trial_sharpes: per symbol the Sharpe ratios per session (not annualised, less cash) of all distinct trials of
            `policy`, this one included; other strategies, and symbols that are not named, count as one trial.
        tried_sharpes: per symbol the Sharpe ratios per session on validation of what was tried there and chosen from,
            but never scored on this window; each counts as a trial, see `deflated_sharpe_ratio`.
        shift_percentiles: per symbol and strategy, handed on; None where not named.
        cash_returns: log return of cash over each return of the window, [n] a symbol; None is a rate of 0.
        long_short: whether `sell` asks for a short position.
        policy: the strategy that was trained.

    Returns:
        Plain Python for JSON: `draws`, `confidence`, `seed`, `block_length` a symbol, and under `symbols` what
        `_judge` says of each strategy but buy and hold.

    Raises:
        DataError: where buy and hold or decisions are missing, or a path cannot be judged.
    """
    own_decisions = decisions.partition_by("symbol", "strategy", as_dict=True)
    symbols: dict[str, dict[str, Any]] = {}
    for symbol, paths in _paths(equity, cash_returns).items():
        indices, days = draws.indices[symbol], days_per_year(calendars[symbol])
        benchmark = _Benchmark.of(paths[BENCHMARK], indices, days)
        symbols[symbol] = {}
        for strategy, path in paths.items():
            if strategy == BENCHMARK:
                continue
            if (symbol, strategy) not in own_decisions:
                raise DataError(f"{strategy} has an equity path on {symbol} but no decisions; pass all it decided")
            collapse = _collapse(own_decisions[symbol, strategy], long_short=long_short)
            trials: Sequence[float] | None = ()
            tried: Sequence[float] = ()
            if strategy == policy:
                trials = None if trial_sharpes is None else trial_sharpes.get(symbol, ())
                tried = (tried_sharpes or {}).get(symbol, ())
            percentile = shift_percentiles.get(symbol, {}).get(strategy)
            symbols[symbol][strategy] = _judge(strategy, path, benchmark, collapse, trials, tried, percentile)
    return {
        "draws": draws.num_draws,
        "confidence": CONFIDENCE,
        "seed": draws.seed,
        "block_length": dict(draws.block_length),
        "symbols": symbols,
    }


@dataclass(frozen=True)
class _Benchmark:
    """What every strategy of a symbol is compared with, measured once."""

    won: Floats
    sharpe: SharpeRatio
    drawn_sharpe: SharpeRatio
    indices: Ints
    days: int

    @classmethod
    def of(cls, path: Sessions, indices: Ints, days: int) -> "_Benchmark":
        return cls(_own(path), measure_sharpe(path.excess), measure_sharpe(path.excess[indices]), indices, days)


def _judge(
    strategy: str,
    path: Sessions,
    benchmark: _Benchmark,
    collapse: dict[str, Any],
    trials: Sequence[float] | None,
    tried: Sequence[float],
    shift_percentile: float | None,
) -> dict[str, Any]:
    """Tests and verdict on one path; everything is None for a ruined account, whose log return has no mean."""
    num_trials = None if trials is None else max(1, len(trials)) + len(tried)
    sharpe_difference, wins, probabilistic, deflated, needed = UNDEFINED, UNDEFINED, None, None, None
    ahead = False
    if path.ruined:
        sentence = f"{strategy} lost everything: its account was ruined after {len(path.returns)} sessions."
    else:
        sharpe, drawn = measure_sharpe(path.excess), measure_sharpe(path.excess[benchmark.indices])
        sharpe_difference = compare_sharpe(sharpe, benchmark.sharpe, drawn, benchmark.drawn_sharpe, benchmark.days)
        wins = win_rate_difference(_own(path), benchmark.won, benchmark.indices)
        probabilistic = probabilistic_sharpe_ratio(path.excess)
        if trials is not None:
            deflated = deflated_sharpe_ratio(path.excess, trials, tried) if trials else probabilistic
        needed = sessions_to_tell_apart(sharpe, benchmark.sharpe)
        ahead = is_proven_ahead(collapse, sharpe_difference, deflated, num_trials)
        sentence = verdict(strategy, collapse, sharpe_difference, needed, deflated, num_trials)
    return {
        "sharpe_difference": sharpe_difference.as_dict(),
        "win_rate_difference": wins.as_dict(),
        "shift_percentile": shift_percentile,
        "probabilistic_sharpe_ratio": probabilistic,
        "deflated_sharpe_ratio": deflated,
        "num_trials": num_trials,
        "sessions_needed": needed,
        "proven_ahead": ahead,
        "collapse": collapse,
        "verdict": sentence,
    }


def _own(path: Sessions) -> Floats:
    """Returns with a position; what cash earns without one is no win."""
    return np.where(path.held, path.returns, 0.0)


def _collapse(decisions: pl.DataFrame, *, long_short: bool) -> dict[str, Any]:
    actions = decisions["action"].replace_strict({name: i for i, name in enumerate(ACTION_NAMES)}).to_numpy()
    targets = target_positions(decisions["action"], decisions["position"], long_short=long_short)
    columns = decisions.select("prob_sell", "prob_hold", "prob_buy")
    has_none = all(column.null_count() == decisions.height for column in columns)
    return detect_collapse(actions, targets, None if has_none else columns.to_numpy())


def _paths(equity: pl.DataFrame, cash_returns: Cash | None) -> Paths:
    """Sessions of every symbol and strategy.

    Raises:
        DataError: where buy and hold is missing, or a path that was not ruined has fewer sessions than it.
    """
    paths: Paths = {}
    for (symbol, strategy), path in equity.group_by("symbol", "strategy", maintain_order=True):
        cash = None if cash_returns is None else cash_returns[str(symbol)]
        paths.setdefault(str(symbol), {})[str(strategy)] = path_sessions(path, cash)
    for symbol, own in paths.items():
        if BENCHMARK not in own:
            raise DataError(f"{symbol} has no {BENCHMARK} to judge against, only {', '.join(own)}; replay it as well")
        num = len(own[BENCHMARK].returns)
        for strategy, sessions in own.items():
            if len(sessions.returns) != num and not sessions.ruined:
                raise DataError(
                    f"{strategy} has {len(sessions.returns)} returns on {symbol}, {BENCHMARK} {num}; replay one window"
                )
    return paths
