"""Return against risk of what a sweep tried, on the validation window.

Shape legend: n = returns of the account of all symbols, R = policies (seeds) of a combination, B = draws.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from flag_kedro.backtest.baselines import buy_and_hold
from flag_kedro.backtest.inference import draw_sessions
from flag_kedro.backtest.metrics import conditional_value_at_risk, equity_path, max_drawdown
from flag_kedro.backtest.pooled import pool_accounts
from flag_kedro.backtest.replay import replay
from flag_kedro.backtest.scores import days_per_year
from flag_kedro.data.streams import derived_seed
from flag_kedro.env.account import RUIN_SHARE, Floats, Ints
from flag_kedro.env.evaluation import EvaluationWindow
from flag_kedro.names import BENCHMARK

NUM_DRAWS = 500
CENTRAL = 0.05, 0.95
LEVEL = 0.05
"""Of conditional value at risk."""
RUIN_LOSS = -math.log(RUIN_SHARE)
"""Log loss of a ruined account, whose own is infinite: what the environment books where a symbol is ruined, and more
than any session can lose without."""
ANNUAL_RETURN, DRAWDOWN, TAIL_RISK = "annual_return", "max_drawdown", "cvar"
RISKS = (DRAWDOWN, TAIL_RISK)
Measures = dict[str, float]


@dataclass(frozen=True)
class FrontierPoint:
    """A combination of a sweep, or buy and hold."""

    name: str
    values: Measures
    """Median over policies, decimals."""
    intervals: dict[str, tuple[float, float]]
    """The central 90 % of the same in draws of sessions, which all points share."""
    kind: str = "tried"
    """`tried`, `base` for the run's own parameters, `pruned` for trainings that were stopped, or `benchmark`."""
    efficient: dict[str, bool] = field(default_factory=dict)
    """By risk, whether no combination has as much return at less of it, or more at as much."""


def risk_frontier(results: Mapping[str, Any], evaluation: EvaluationWindow, seed: int) -> list[FrontierPoint]:
    """Points of all combinations in their order, buy and hold last.

    Args:
        results: a sweep's report, as JSON has it: `combinations` and `rows` are read.
        evaluation: the validation window and the run's own environment.
        seed: of the draws.

    Raises:
        DataError: for a window without returns.
    """
    held = replay(BENCHMARK, evaluation.window, evaluation.env, buy_and_hold)
    benchmark = pool_accounts(held.equity)["log_return"].drop_nulls().to_numpy()[None]
    paths = [np.array(each["validation_log_returns"], dtype=np.float64) for each in results["combinations"]]
    indices, _ = draw_sessions(np.concatenate([*paths, benchmark]), NUM_DRAWS, derived_seed(seed, "frontier"))
    days = max(days_per_year(calendar) for calendar in evaluation.calendars.values())
    points = [
        _point(each["params"] or "base", path, indices, days, _kind(each))
        for each, path in zip(results["combinations"], paths, strict=True)
    ]
    return [*_mark_efficient(points), _point(BENCHMARK, benchmark, indices, days, "benchmark")]


def _kind(combination: Mapping[str, Any]) -> str:
    if combination.get("pruned", False):
        return "pruned"
    return "base" if combination["is_base"] else "tried"


def validation_log_returns(equity: pl.DataFrame) -> list[float | None]:
    """Log returns of all symbols in one account, [n], from one strategy's `replay.EQUITY`.

    None from where the account is ruined on: JSON knows no infinity.
    """
    returns = pool_accounts(equity)["log_return"].drop_nulls().to_list()
    return [value if math.isfinite(value) else None for value in returns]


def _point(name: str, paths: Floats, indices: Ints, days: int, kind: str) -> FrontierPoint:
    """The measures of the policies `paths` [R, n], and in draws of their sessions `indices` [B, n]."""
    drawn = [measure_paths(path[indices], days) for path in paths]
    values, intervals = {}, {}
    for measure, each in measure_paths(paths, days).items():
        values[measure] = float(np.median(each))
        low, high = np.quantile(np.median([one[measure] for one in drawn], axis=0), CENTRAL)
        intervals[measure] = float(low), float(high)
    return FrontierPoint(name, values, intervals, kind)


def measure_paths(returns: Floats, days: int) -> dict[str, Floats]:
    """Compounded annual return, largest drawdown and CVaR of log returns [..., n], each [...], decimals.

    A path with a return that is not finite is a ruined account: it has lost all, -1, 1 and `RUIN_LOSS`.
    """
    finite = np.isfinite(returns)
    kept, known = finite.all(axis=-1), np.where(finite, returns, 0.0)
    return {
        ANNUAL_RETURN: np.where(kept, np.expm1(known.mean(axis=-1) * days), -1.0),
        DRAWDOWN: np.where(kept, max_drawdown(equity_path(known)), 1.0),
        TAIL_RISK: np.where(kept, conditional_value_at_risk(known, LEVEL), RUIN_LOSS),
    }


def _mark_efficient(points: Sequence[FrontierPoint]) -> list[FrontierPoint]:
    """Tell by risk what is efficient; what was pruned neither is nor counts, since nobody would choose it."""
    whole = [point for point in points if point.kind != "pruned"]
    return [replace(point, efficient={risk: _is_efficient(point, whole, risk) for risk in RISKS}) for point in points]


def _is_efficient(point: FrontierPoint, whole: Sequence[FrontierPoint], risk: str) -> bool:
    dominated = any(_dominates(other.values, point.values, risk) for other in whole)
    return point.kind != "pruned" and _is_finite(point) and not dominated


def _is_finite(point: FrontierPoint) -> bool:
    return all(map(math.isfinite, point.values.values()))


def _dominates(one: Measures, other: Measures, risk: str) -> bool:
    at_least = one[ANNUAL_RETURN] >= other[ANNUAL_RETURN] and one[risk] <= other[risk]
    return at_least and (one[ANNUAL_RETURN] > other[ANNUAL_RETURN] or one[risk] < other[risk])
