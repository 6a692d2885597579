"""Every strategy compared with buy and hold, cash and luck: all symbols in one account first, then each symbol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from flag_kedro.backtest.collapse import Collapse, detect_collapse
from flag_kedro.backtest.counterfactual import Shifts, shift_together
from flag_kedro.backtest.draws import Draws, sessions_by_path
from flag_kedro.backtest.inference import win_rate_difference
from flag_kedro.backtest.intervals import CONFIDENCE, Difference
from flag_kedro.backtest.measured_sizes import size_note
from flag_kedro.backtest.pooled import ReplayedStrategies, pool_log_returns
from flag_kedro.backtest.scores import days_per_year
from flag_kedro.backtest.sessions import Sessions
from flag_kedro.backtest.sharpe_tests import (
    SharpeRatio,
    compare_sharpe,
    deflated_sharpe_ratio,
    effective_trials,
    measure_sharpe,
    min_track_record_length,
    probabilistic_sharpe_ratio,
    sessions_to_tell_apart,
    sharpe_above_zero,
)
from flag_kedro.backtest.verdict import (
    Correction,
    Evidence,
    Rivals,
    compare_to_rivals,
    correct_p_values,
    is_ahead,
    verdict,
)
from flag_kedro.env.account import ACTION_NAMES, Floats, Ints
from flag_kedro.env.evaluation import target_positions
from flag_kedro.errors import DataError
from flag_kedro.names import ALL_SYMBOLS, BENCHMARK, FORCED, POLICY, RIVALS, STOPPED

UNDEFINED = Difference(None, None, None)


@dataclass(frozen=True)
class TrialSharpes:
    """Sharpe ratios per session (not annualised, less cash) of all that was tried for a window, by symbol."""

    scored: Mapping[str, Sequence[float]]
    """Of all distinct trials scored on the window, the policy itself included; a symbol without any has one trial."""
    validated: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """On validation, of what was tried there and chosen from, but never scored on the window; see
    `deflated_sharpe_ratio`."""
    correlations: Mapping[str, float] = field(default_factory=dict)
    """Mean correlation of the returns of what was scored; 0 where it is not named."""


@dataclass(frozen=True, kw_only=True)
class StrategyComparison(Evidence):
    """Evidence and verdict on one strategy; None is undefined, as everything is of a ruined account."""

    win_rate_difference: Difference
    """Share of sessions won less that of buy and hold."""
    shift_percentile: float | None
    """Share of the circular shifts of its own positions that earned less."""
    probabilistic_sharpe_ratio: float | None
    effective_trials: float | None
    """Independent ones that `num_trials` are worth."""
    min_track_record: int | None
    """Sessions from which on the probabilistic Sharpe ratio would reach 0.95; None where it never would."""
    correction: Correction | None
    """The p-value of no lead, corrected for the number of symbols; None where undefined."""
    proven_ahead: bool
    collapse: Collapse
    verdict: str
    rivals: Rivals
    """The policy against the strategies that read the same words without a language model; empty for others."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkComparison:
    """Every strategy but buy and hold compared."""

    draws: int
    confidence: float
    seed: int
    block_length: dict[str, float]
    """Mean sessions in a block of the bootstrap, by symbol; `all` is the account of all symbols."""
    size_notes: dict[str, str]
    """What a nominal 5 % is worth with so few returns, by symbol, `all` included."""
    pooled: dict[str, StrategyComparison]
    """On the account of all symbols, by strategy: the one test that needs no correction."""
    symbols: dict[str, dict[str, StrategyComparison]]
    """By symbol and strategy."""


def compare_to_benchmark(
    replayed: ReplayedStrategies,
    draws: Draws,
    *,
    trials: TrialSharpes | None,
    shifts: Mapping[str, Mapping[str, Shifts]],
) -> BenchmarkComparison:
    """Compare every strategy with buy and hold, cash and its own time shifts, on its equity path after costs.

    Args:
        replayed: by symbol.
        draws: of `draw_windows`, those of the symbol `all` included.
        trials: of the policy, other strategies count as one trial; None where nobody knows them.
        shifts: by symbol and strategy; what is not named has none.

    Raises:
        DataError: where buy and hold or decisions are missing, or a path cannot be compared.
    """
    symbols = _compare_symbols(replayed, draws, trials, shifts)
    together = {name: shift_together(rows, pool_log_returns) for name, rows in _by_strategy(shifts).items()}
    pooled = _compare_symbols(replayed.pooled, draws, trials, {ALL_SYMBOLS: together})
    return BenchmarkComparison(
        draws=draws.num_draws,
        confidence=CONFIDENCE,
        seed=draws.seed,
        block_length=dict(draws.block_length),
        size_notes={symbol: size_note(indices.shape[1]) for symbol, indices in draws.indices.items()},
        pooled=pooled[ALL_SYMBOLS],
        symbols=symbols,
    )


def _by_strategy(shifts: Mapping[str, Mapping[str, Shifts]]) -> dict[str, list[Shifts]]:
    """Shifts by strategy, a symbol each."""
    by_strategy: dict[str, list[Shifts]] = {}
    for rows in shifts.values():
        for name, shift in rows.items():
            by_strategy.setdefault(name, []).append(shift)
    return by_strategy


def _compare_symbols(
    replayed: ReplayedStrategies,
    draws: Draws,
    trials: TrialSharpes | None,
    shifts: Mapping[str, Mapping[str, Shifts]],
) -> dict[str, dict[str, StrategyComparison]]:
    decisions_of = replayed.decisions.partition_by("symbol", "strategy", as_dict=True)
    symbols: dict[str, dict[str, StrategyComparison]] = {}
    for symbol, paths in sessions_by_path(replayed.equity, replayed.cash_returns).items():
        days = days_per_year(replayed.calendars[symbol])
        measured = {name: _Measured.of(path, draws.indices[symbol], days) for name, path in paths.items()}
        symbols[symbol] = {}
        for strategy, path in measured.items():
            if strategy == BENCHMARK:
                continue
            if (symbol, strategy) not in decisions_of:
                raise DataError(f"{strategy} has an equity path on {symbol} but no decisions; pass all it decided")
            comparison = _compare(
                path,
                measured[BENCHMARK],
                collapse_of(decisions_of[symbol, strategy], long_short=replayed.long_short),
                _Trials.of(trials, symbol) if strategy == POLICY else _Trials(),
                None if path.path.ruined else shifts.get(symbol, {}).get(strategy),
            )
            if path.path.ruined:
                num = len(path.path.returns)
                ruined = f"{strategy} lost everything: its account was ruined after {num} sessions."
                comparison = replace(comparison, verdict=ruined)
            if strategy == POLICY:
                comparison = replace(comparison, rivals=_rivals(path, measured))
            symbols[symbol][strategy] = comparison
    return _judge(symbols)


@dataclass(frozen=True)
class _Measured:
    """What a path is compared by, measured once; the log return of a ruined account has no mean to measure."""

    path: Sessions
    indices: Ints
    days: int
    sharpe: SharpeRatio | None
    drawn: SharpeRatio | None

    @classmethod
    def of(cls, path: Sessions, indices: Ints, days: int) -> "_Measured":
        if path.ruined:
            return cls(path, indices, days, None, None)
        return cls(path, indices, days, measure_sharpe(path.excess), measure_sharpe(path.excess[indices]))

    def less(self, other: "_Measured") -> Difference:
        """The annualised Sharpe ratio less that of another path; undefined where one of them is ruined."""
        if self.sharpe is None or self.drawn is None or other.sharpe is None or other.drawn is None:
            return UNDEFINED
        return compare_sharpe(self.sharpe, other.sharpe, self.drawn, other.drawn, self.days)

    def less_cash(self) -> Difference:
        if self.sharpe is None or self.drawn is None:
            return UNDEFINED
        return sharpe_above_zero(self.sharpe, self.drawn, self.days)

    def won(self) -> Floats:
        """Returns with a position; what cash earns without one is no win."""
        return np.where(self.path.held, self.path.returns, 0.0)


@dataclass(frozen=True)
class _Trials:
    """Sharpe ratios of a strategy's trials on one symbol; by default it is the only trial."""

    scored: Sequence[float] | None = ()
    """None where nobody knows them."""
    validated: Sequence[float] = ()
    correlation: float = 0.0

    @classmethod
    def of(cls, trials: TrialSharpes | None, symbol: str) -> "_Trials":
        if trials is None:
            return cls(None)
        validated, correlation = trials.validated.get(symbol, ()), trials.correlations.get(symbol, 0.0)
        return cls(trials.scored.get(symbol, ()), validated, correlation)

    @property
    def num(self) -> int | None:
        return None if self.scored is None else max(1, len(self.scored)) + len(self.validated)

    @property
    def effective(self) -> float | None:
        if self.scored is None:
            return None
        return effective_trials(max(1, len(self.scored)), len(self.validated), self.correlation)

    def deflate(self, path: Sessions, probabilistic: float | None) -> float | None:
        """The deflated Sharpe ratio; the probabilistic one of a single trial, None of unknown trials."""
        if self.scored is None:
            return None
        if not self.scored:
            return probabilistic
        return deflated_sharpe_ratio(path.excess, self.scored, self.validated, self.correlation)


def _compare(
    path: _Measured, benchmark: _Measured, collapse: Collapse, trials: _Trials, shift: Shifts | None
) -> StrategyComparison:
    """Tests of one path; the verdict comes when those on all symbols are known."""
    wins, probabilistic, needed, min_track_record = UNDEFINED, None, None, None
    if path.sharpe is not None and benchmark.sharpe is not None:
        wins = win_rate_difference(path.won(), benchmark.won(), path.indices)
        probabilistic = probabilistic_sharpe_ratio(path.path.excess)
        min_track_record = min_track_record_length(path.path.excess)
        needed = sessions_to_tell_apart(path.sharpe, benchmark.sharpe)
    return StrategyComparison(
        sharpe_difference=path.less(benchmark),
        cash_difference=path.less_cash(),
        win_rate_difference=wins,
        shift_percentile=None if shift is None else shift.percentile,
        shift_p_value=None if shift is None else shift.p_value,
        probabilistic_sharpe_ratio=probabilistic,
        deflated_sharpe_ratio=None if path.sharpe is None else trials.deflate(path.path, probabilistic),
        num_trials=trials.num,
        effective_trials=trials.effective,
        min_track_record=min_track_record,
        sessions_needed=needed,
        collapse=collapse,
        correction=None,
        proven_ahead=False,
        verdict="",
        rivals=Rivals(),
    )


def _rivals(path: _Measured, measured: Mapping[str, _Measured]) -> Rivals:
    return compare_to_rivals(POLICY, {name: path.less(measured[name]) for name in RIVALS if name in measured})


def _judge(symbols: Mapping[str, Mapping[str, StrategyComparison]]) -> dict[str, dict[str, StrategyComparison]]:
    """Correct each strategy's lead for the number of symbols, and put it in words."""
    lead_p_values: dict[str, dict[str, float | None]] = {}
    for symbol, rows in symbols.items():
        for strategy, one in rows.items():
            lead_p_values.setdefault(strategy, {})[symbol] = one.lead_p_value
    corrections = {strategy: correct_p_values(p_values) for strategy, p_values in lead_p_values.items()}
    return {
        symbol: {name: _with_verdict(name, one, corrections[name].get(symbol)) for name, one in rows.items()}
        for symbol, rows in symbols.items()
    }


def _with_verdict(strategy: str, one: StrategyComparison, correction: Correction | None) -> StrategyComparison:
    return replace(
        one,
        correction=correction,
        proven_ahead=is_ahead(one.collapse, one, correction),
        verdict=one.verdict or verdict(strategy, one.collapse, one, correction),
    )


def collapse_of(decisions: pl.DataFrame, *, long_short: bool) -> Collapse:
    """How a strategy acts, over all rows of a table of its decisions (columns of `replay.DECISIONS`).

    Sessions of stopped accounts are left out: nothing is decided there. Rows that `forced` marks, see
    `EvaluationWindow.mark_forced`, count but for the policy's entropy.
    """
    if STOPPED in decisions.columns:
        decisions = decisions.filter(~pl.col(STOPPED))
    actions = decisions["action"].replace_strict({name: i for i, name in enumerate(ACTION_NAMES)}).to_numpy()
    targets = target_positions(decisions, long_short=long_short)
    columns = decisions.select("prob_sell", "prob_hold", "prob_buy")
    has_none = all(column.null_count() == decisions.height for column in columns)
    forced = decisions[FORCED].to_numpy() if FORCED in decisions.columns else None
    return detect_collapse(actions, targets, None if has_none else columns.to_numpy(), forced)
