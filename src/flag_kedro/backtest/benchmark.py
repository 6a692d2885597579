"""Every strategy compared with buy and hold, and intervals of all scores, from shared draws.

Shape legend: n = returns of a symbol's window, B = bootstrap draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from flag_kedro.backtest.collapse import Collapse, Evidence, detect_collapse, is_proven_ahead, verdict
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
from flag_kedro.names import BENCHMARK, POLICY

UNDEFINED = Difference(None, None, None)

IntervalScores = dict[str, float | int | list[float] | None]
"""Scores by metric, and the interval `[low, high]` of each as `METRIC_ci95`."""
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


@dataclass(frozen=True)
class TrialSharpes:
    """Sharpe ratios per session (not annualised, less cash) of all that was tried for a window, by symbol."""

    scored: Mapping[str, Sequence[float]]
    """Of all distinct trials scored on the window, the policy itself included; a symbol without any has one trial."""
    validated: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """On validation, of what was tried there and chosen from, but never scored on the window; see
    `deflated_sharpe_ratio`."""


@dataclass(frozen=True, kw_only=True)
class StrategyComparison:
    """Tests and verdict on one strategy; None is undefined, as everything is of a ruined account."""

    sharpe_difference: Difference
    """Annualised Sharpe ratio less that of buy and hold."""
    win_rate_difference: Difference
    """Share of sessions won less that of buy and hold."""
    shift_percentile: float | None
    """Of `counterfactual.shift_percentiles`."""
    probabilistic_sharpe_ratio: float | None
    deflated_sharpe_ratio: float | None
    """Over `num_trials`."""
    num_trials: int | None
    """Configurations and seeds tried for the window; None where nobody knows."""
    sessions_needed: int | None
    """Length of a window in which the difference would be told from 0."""
    proven_ahead: bool
    collapse: Collapse
    verdict: str


@dataclass(frozen=True, kw_only=True)
class BenchmarkComparison:
    """Every strategy but buy and hold compared with it."""

    draws: int
    confidence: float
    seed: int
    block_length: dict[str, float]
    """Mean sessions in a block of the bootstrap, by symbol."""
    symbols: dict[str, dict[str, StrategyComparison]]
    """By symbol and strategy."""


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


def compare_to_benchmark(
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    calendars: Mapping[str, str],
    draws: Draws,
    *,
    trials: TrialSharpes | None,
    shift_percentiles: Mapping[str, Mapping[str, float | None]],
    cash_returns: Cash | None = None,
    long_short: bool = False,
) -> BenchmarkComparison:
    """Compare every strategy with buy and hold on its equity path after costs.

    Args:
        decisions: columns of `replay.DECISIONS`.
        equity: columns of `replay.EQUITY`, with `buy_and_hold` among the strategies.
        calendars: exchange calendar of each symbol.
        draws: of `draw_windows`.
        trials: of the policy, other strategies count as one trial; None where nobody knows them.
        shift_percentiles: per symbol and strategy, handed on; None where not named.
        cash_returns: log return of cash over each return of the window, [n] a symbol; None is a rate of 0.
        long_short: whether `sell` asks for a short position.

    Raises:
        DataError: where buy and hold or decisions are missing, or a path cannot be compared.
    """
    decisions_of = decisions.partition_by("symbol", "strategy", as_dict=True)
    symbols: dict[str, dict[str, StrategyComparison]] = {}
    for symbol, paths in _paths(equity, cash_returns).items():
        benchmark = _Benchmark.of(paths[BENCHMARK], draws.indices[symbol], days_per_year(calendars[symbol]))
        symbols[symbol] = {}
        for strategy, path in paths.items():
            if strategy == BENCHMARK:
                continue
            if (symbol, strategy) not in decisions_of:
                raise DataError(f"{strategy} has an equity path on {symbol} but no decisions; pass all it decided")
            symbols[symbol][strategy] = _compare(
                strategy,
                path,
                benchmark,
                collapse=_collapse(decisions_of[symbol, strategy], long_short=long_short),
                trials=_Trials.of(trials, symbol) if strategy == POLICY else _Trials(),
                shift_percentile=shift_percentiles.get(symbol, {}).get(strategy),
            )
    return BenchmarkComparison(
        draws=draws.num_draws,
        confidence=CONFIDENCE,
        seed=draws.seed,
        block_length=dict(draws.block_length),
        symbols=symbols,
    )


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
        won = _returns_in_position(path)
        return cls(won, measure_sharpe(path.excess), measure_sharpe(path.excess[indices]), indices, days)


@dataclass(frozen=True)
class _Trials:
    """Sharpe ratios of a strategy's trials on one symbol; by default it is the only trial."""

    scored: Sequence[float] | None = ()
    """None where nobody knows them."""
    validated: Sequence[float] = ()

    @classmethod
    def of(cls, trials: TrialSharpes | None, symbol: str) -> "_Trials":
        return cls(None) if trials is None else cls(trials.scored.get(symbol, ()), trials.validated.get(symbol, ()))

    @property
    def num(self) -> int | None:
        return None if self.scored is None else max(1, len(self.scored)) + len(self.validated)

    def deflate(self, path: Sessions, probabilistic: float | None) -> float | None:
        """The deflated Sharpe ratio; the probabilistic one of a single trial, None of unknown trials."""
        if self.scored is None:
            return None
        return deflated_sharpe_ratio(path.excess, self.scored, self.validated) if self.scored else probabilistic


def _compare(
    strategy: str,
    path: Sessions,
    benchmark: _Benchmark,
    *,
    collapse: Collapse,
    trials: _Trials,
    shift_percentile: float | None,
) -> StrategyComparison:
    """Tests and verdict on one path; a ruined account is not tested, since its log return has no mean."""
    wins, probabilistic = UNDEFINED, None
    if path.ruined:
        evidence = Evidence(
            sharpe_difference=UNDEFINED, sessions_needed=None, deflated_sharpe_ratio=None, num_trials=trials.num
        )
        sentence = f"{strategy} lost everything: its account was ruined after {len(path.returns)} sessions."
    else:
        wins = win_rate_difference(_returns_in_position(path), benchmark.won, benchmark.indices)
        probabilistic = probabilistic_sharpe_ratio(path.excess)
        evidence = _gather(path, benchmark, trials, probabilistic)
        sentence = verdict(strategy, collapse, evidence)
    return StrategyComparison(
        sharpe_difference=evidence.sharpe_difference,
        win_rate_difference=wins,
        shift_percentile=shift_percentile,
        probabilistic_sharpe_ratio=probabilistic,
        deflated_sharpe_ratio=evidence.deflated_sharpe_ratio,
        num_trials=evidence.num_trials,
        sessions_needed=evidence.sessions_needed,
        proven_ahead=is_proven_ahead(collapse, evidence),
        collapse=collapse,
        verdict=sentence,
    )


def _gather(path: Sessions, benchmark: _Benchmark, trials: _Trials, probabilistic: float | None) -> Evidence:
    sharpe, drawn = measure_sharpe(path.excess), measure_sharpe(path.excess[benchmark.indices])
    return Evidence(
        sharpe_difference=compare_sharpe(sharpe, benchmark.sharpe, drawn, benchmark.drawn_sharpe, benchmark.days),
        sessions_needed=sessions_to_tell_apart(sharpe, benchmark.sharpe),
        deflated_sharpe_ratio=trials.deflate(path, probabilistic),
        num_trials=trials.num,
    )


def _returns_in_position(path: Sessions) -> Floats:
    """Returns with a position; what cash earns without one is no win."""
    return np.where(path.held, path.returns, 0.0)


def _collapse(decisions: pl.DataFrame, *, long_short: bool) -> Collapse:
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
