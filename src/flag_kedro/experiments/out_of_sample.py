"""Test windows of successive folds joined to one out-of-sample path.

Shape legend: K = seeds, n = returns of all folds together.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from flag_kedro.backtest.scores import Scores, days_per_year
from flag_kedro.env.account import RUIN_SHARE, Floats
from flag_kedro.names import BENCHMARK, POLICY

ALL = "all"
"""The name of all symbols together."""
RUINED = math.log(RUIN_SHARE) + 1e-9
"""A log return at or below it ended an account."""


@dataclass(frozen=True)
class FoldRun:
    """What walk-forward reads of one training's row, see `scoring.describe_run`."""

    fold: str
    seed: int
    scores: Mapping[str, Mapping[str, Scores]]
    """By symbol and strategy, on the test window."""
    sessions: Mapping[str, Sequence[str]]
    """By symbol, ISO dates at whose close each return ends."""
    log_returns: Mapping[str, Mapping[str, Sequence[float]]]
    """By strategy and symbol, one for each of `sessions`."""
    cash_returns: Mapping[str, Sequence[float]]
    """By symbol, log returns."""

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "FoldRun":
        """The row as it is stored, without what is not read here."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class OutOfSamplePath:
    """Out-of-sample returns of one symbol, or of all together, fold after fold."""

    sessions: tuple[str, ...]
    """At whose close each return ends, [n]."""
    fold: tuple[str, ...]
    """Name of each return's fold, [n]."""
    returns: Mapping[str, Floats]
    """Log returns by strategy, [K, n]; -inf where an account was ruined."""
    cash: Floats
    """Log returns of cash, [n]."""
    days: int
    """Sessions of a year."""

    def within(self, fold: str) -> "OutOfSamplePath":
        """The returns of one fold."""
        mask = np.array([name == fold for name in self.fold])
        sessions = tuple(day for day, name in zip(self.sessions, self.fold, strict=True) if name == fold)
        returns = {strategy: values[:, mask] for strategy, values in self.returns.items()}
        return OutOfSamplePath(sessions, (fold,) * len(sessions), returns, self.cash[mask], self.days)


@dataclass(frozen=True)
class MeanPath:
    """A path averaged over seeds, for plots; saved as JSON in this order."""

    sessions: list[str]
    """ISO dates, [n]."""
    folds: list[str]
    """[n]."""
    flag_trader: list[float | None]
    """Mean log returns, [n]; None where an account was ruined."""
    buy_and_hold: list[float | None]
    """Log returns, [n]."""


def concatenate_folds(rows: Sequence[Mapping[str, Any]], calendars: Mapping[str, str]) -> dict[str, OutOfSamplePath]:
    """The paths of every symbol, and of all of them under `all`.

    A fold's account begins flat with its window and is closed with it, so the return from the last session of a fold
    to the first of the next belongs to nobody, buy and hold included. All symbols together are the mean of their log
    returns by date; a symbol without a session has none, which counts as 0.

    Args:
        rows: of `runs.run_fold`, in the order of folds, every fold with every seed.
        calendars: exchange calendar of each symbol.
    """
    runs = [FoldRun.from_json(row) for row in rows]
    folds, seeds = list(dict.fromkeys(run.fold for run in runs)), list(dict.fromkeys(run.seed for run in runs))
    run_of = {(run.fold, run.seed): run for run in runs}
    first_runs = [run_of[fold, seeds[0]] for fold in folds]
    paths = {}
    for symbol, calendar in calendars.items():
        returns = {
            strategy: np.stack(
                [_concatenate([run_of[fold, seed].log_returns[strategy][symbol] for fold in folds]) for seed in seeds]
            )
            for strategy in (POLICY, BENCHMARK)
        }
        paths[symbol] = OutOfSamplePath(
            sessions=tuple(day for run in first_runs for day in run.sessions[symbol]),
            fold=tuple(run.fold for run in first_runs for _ in run.sessions[symbol]),
            returns={name: np.where(values <= RUINED, -np.inf, values) for name, values in returns.items()},
            cash=_concatenate([run.cash_returns[symbol] for run in first_runs]),
            days=days_per_year(calendar),
        )
    return paths | {ALL: _mean_over_symbols(list(paths.values()))}


def mean_paths(paths: Mapping[str, OutOfSamplePath]) -> dict[str, MeanPath]:
    """Sessions, folds and mean log returns of every path."""
    return {
        symbol: MeanPath(
            sessions=list(path.sessions),
            folds=list(path.fold),
            flag_trader=[finite_or_none(value) for value in path.returns[POLICY].mean(0)],
            buy_and_hold=[finite_or_none(value) for value in path.returns[BENCHMARK].mean(0)],
        )
        for symbol, path in paths.items()
    }


def finite_or_none(value: float) -> float | None:
    """The number, or None for one that JSON does not have."""
    return float(value) if math.isfinite(value) else None


def _concatenate(parts: Sequence[Sequence[float]]) -> Floats:
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])


def _mean_over_symbols(paths: Sequence[OutOfSamplePath]) -> OutOfSamplePath:
    """The mean over symbols by date."""
    fold_of = dict(
        sorted({day: fold for path in paths for day, fold in zip(path.sessions, path.fold, strict=True)}.items())
    )
    column_of = {day: column for column, day in enumerate(fold_of)}
    total = {name: np.zeros((len(values), len(column_of))) for name, values in paths[0].returns.items()}
    cash = np.zeros(len(column_of))
    for path in paths:
        columns = [column_of[day] for day in path.sessions]
        cash[columns] += path.cash / len(paths)
        for name, values in path.returns.items():
            total[name][:, columns] += values / len(paths)
    return OutOfSamplePath(tuple(fold_of), tuple(fold_of.values()), total, cash, max(path.days for path in paths))
