"""What folds say together: out-of-sample paths paths together, their scores, intervals and a test.

Shape legend: K = seeds, n = returns of all folds together, B = bootstrap draws.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from flag_kedro.backtest import metrics
from flag_kedro.backtest.inference import draw_sessions, score_intervals, summarise_seeds
from flag_kedro.backtest.intervals import Difference
from flag_kedro.backtest.scores import days_per_year
from flag_kedro.backtest.sessions import Metrics, Sessions
from flag_kedro.backtest.sharpe_tests import sharpe_difference
from flag_kedro.data.streams import derived_seed
from flag_kedro.env.account import RUIN_SHARE, Floats, Ints

Row = dict[str, Any]
ALL = "all"
"""The name of all symbols together."""
POLICY, BENCHMARK = "flag_trader", "buy_and_hold"
UNDEFINED = Difference(None, None, None)
RUINED = math.log(RUIN_SHARE) + 1e-9
"""A log return at or below it ended an account."""


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

    def part(self, fold: str) -> "OutOfSamplePath":
        """The returns of one fold."""
        own = np.array([name == fold for name in self.fold])
        chosen = tuple(day for day, mine in zip(self.sessions, own, strict=True) if mine)
        returns = {strategy: values[:, own] for strategy, values in self.returns.items()}
        return OutOfSamplePath(chosen, (fold,) * len(chosen), returns, self.cash[own], self.days)


def concatenate_folds(rows: Sequence[Row], calendars: Mapping[str, str]) -> dict[str, OutOfSamplePath]:
    """The paths of every symbol, and of all of them under `all`, from rows of `runs.run_fold` in the order of folds.

    A fold's account begins flat with its window and is closed with it, so the return from the last session of a fold
    to the first of the next belongs to nobody, buy and hold included. All symbols together are the mean of their log
    returns by date; a symbol without a session has none, which counts as 0.
    """
    folds = list(dict.fromkeys(row["fold"] for row in rows))
    seeds = list(dict.fromkeys(row["seed"] for row in rows))
    found = {(row["fold"], row["seed"]): row for row in rows}
    firsts = [found[fold, seeds[0]] for fold in folds]
    paths = {}
    for symbol, calendar in calendars.items():
        returns = {
            strategy: np.stack(
                [_joined([found[fold, seed]["log_returns"][strategy][symbol] for fold in folds]) for seed in seeds]
            )
            for strategy in (POLICY, BENCHMARK)
        }
        paths[symbol] = OutOfSamplePath(
            sessions=tuple(day for row in firsts for day in row["sessions"][symbol]),
            fold=tuple(row["fold"] for row in firsts for _ in row["sessions"][symbol]),
            returns={name: np.where(values <= RUINED, -np.inf, values) for name, values in returns.items()},
            cash=_joined([row["cash_returns"][symbol] for row in firsts]),
            days=days_per_year(calendar),
        )
    return paths | {ALL: _together(list(paths.values()))}


def summarise_folds(paths: Mapping[str, OutOfSamplePath], num_draws: int, seed: int) -> dict[str, dict[str, Any]]:
    """Scores of every path of `concatenate_folds`, plain Python for JSON.

    Returns:
        By symbol, and under `all`: `num_returns`, `block_length`, `strategies` (scores of the mean over seeds of daily
        log returns with 95 % intervals), `sharpe_difference` to buy and hold (studentised bootstrap), `seeds` (each
        score over the seeds' own paths), and `folds` (the same within each fold, and buy and hold's scores there).
        The bootstrap draws sessions across the borders of folds. A mean over seeds is a portfolio of them, which
        varies less than each: its Sharpe ratio may lie above all of theirs.
    """
    return {symbol: _summarise(symbol, path, num_draws, seed) for symbol, path in paths.items()}


def mean_paths(paths: Mapping[str, OutOfSamplePath]) -> dict[str, Row]:
    """Sessions, folds and mean log returns of every path, for plots; null where an account was ruined."""
    return {
        symbol: {"sessions": list(path.sessions), "folds": list(path.fold)}
        | {name: [_number(value) for value in values.mean(0)] for name, values in path.returns.items()}
        for symbol, path in paths.items()
    }


def _summarise(symbol: str, path: OutOfSamplePath, num_draws: int, seed: int) -> Row:
    measure = _measure(path.days)
    own, held = (_path(path.returns[name].mean(0), path.cash) for name in (POLICY, BENCHMARK))
    whole = [part.excess for part in (own, held) if not part.ruined]
    block, difference = None, UNDEFINED
    indices: Ints = np.zeros((0, 0), dtype=np.int64)
    if whole:
        indices, block = draw_sessions(np.stack(whole), num_draws, derived_seed(seed, "bootstrap", symbol))
    if len(whole) == 2:
        difference = sharpe_difference(own.excess, held.excess, path.days, indices)
    return {
        "num_returns": len(path.sessions),
        "block_length": block,
        "strategies": {
            name: _scores(part, measure) | score_intervals(part, indices, measure)
            for name, part in ((POLICY, own), (BENCHMARK, held))
        },
        "sharpe_difference": difference.as_dict(),
        "seeds": _over_seeds(path, measure),
        "folds": {
            fold: {
                "seeds": _over_seeds(path.part(fold), measure),
                BENCHMARK: _scores(_path(path.part(fold).returns[BENCHMARK][0], path.part(fold).cash), measure),
            }
            for fold in dict.fromkeys(path.fold)
        },
    }


def _over_seeds(path: OutOfSamplePath, measure: Callable[[Sessions], Metrics]) -> dict[str, Any]:
    """Each score over seeds; a score is None where it is defined for no seed, and `num` says for how many it is."""
    each = [_scores(_path(returns, path.cash), measure) for returns in path.returns[POLICY]]
    known = {name: [value for scores in each if (value := scores[name]) is not None] for name in each[0]}
    return {name: asdict(summarise_seeds(values)) if values else None for name, values in known.items()}


def _measure(days: int) -> Callable[[Sessions], Metrics]:
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


def _path(returns: Floats, cash: Floats) -> Sessions:
    """Log returns [n] as sessions that can be drawn; they end where everything was lost."""
    lost = np.flatnonzero(np.isneginf(returns))
    if len(lost):
        returns, cash = returns[: lost[0] + 1], cash[: lost[0] + 1]
    ones = np.ones(len(returns))
    return Sessions(returns, returns - cash, ones > 0, 0 * ones, ones, 1.0)


def _scores(path: Sessions, measure: Callable[[Sessions], Metrics]) -> dict[str, float | None]:
    with np.errstate(invalid="ignore"):
        return {name: _number(float(value)) for name, value in measure(path).items()}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _joined(parts: Sequence[Sequence[float]]) -> Floats:
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])


def _together(paths: Sequence[OutOfSamplePath]) -> OutOfSamplePath:
    """The mean over symbols by date."""
    fold_of = dict(
        sorted({day: fold for path in paths for day, fold in zip(path.sessions, path.fold, strict=True)}.items())
    )
    place = {day: at for at, day in enumerate(fold_of)}
    total = {name: np.zeros((len(values), len(place))) for name, values in paths[0].returns.items()}
    cash = np.zeros(len(place))
    for path in paths:
        columns = [place[day] for day in path.sessions]
        cash[columns] += path.cash / len(paths)
        for name, values in path.returns.items():
            total[name][:, columns] += values / len(paths)
    return OutOfSamplePath(tuple(fold_of), tuple(fold_of.values()), total, cash, max(path.days for path in paths))
