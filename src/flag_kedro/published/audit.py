"""What printed numbers imply and what they cannot be: the arithmetic behind the audit of the published table.

With m daily log returns r_i and positions p_i: CR = sum p_i r_i, AV = std(p_i r_i, ddof 1) x sqrt(D_v) and
SR = CR / (n / D_m) / AV, n the number of prices (`metrics.investorbench_scores`). A printed number stands for every
number that rounds to it; each function here decides in the printed number's favour.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flag_kedro.env.account import Floats
from flag_kedro.names import ANNUAL_VOLATILITY, CUMULATIVE_RETURN
from flag_kedro.published.results import HALF_UNIT, METRICS, PublishedRow, same_as_printed


@dataclass(frozen=True, kw_only=True)
class ImpliedDays:
    """The number of days that a row's CR, SR and AV imply."""

    days_mean: int
    """Sessions a year assumed in the mean."""
    estimate: float
    low: float
    high: float
    integers: tuple[int, ...]
    """Whole numbers between `low` and `high`."""


@dataclass(frozen=True, kw_only=True)
class FlatDays:
    """What days out of the market can have added to a long-or-flat row."""

    num_returns: int
    days_volatility: int
    needed: float
    """CR that flat days must have added to Buy & Hold over the same returns."""
    at_most: float | None
    """CR that they can have added, given the printed AV; None when holding every day is not volatile enough."""
    possible: bool
    """Whether that is enough for a long-or-flat account to have this row."""


def implied_days(row: PublishedRow, days_mean: int) -> ImpliedDays | None:
    """Days n = D_m x CR / (SR x AV), with the interval that rounding allows.

    None where CR and SR differ in sign, or SR or AV may be a rounded zero: such a row implies nothing.
    """
    if row.cumulative_return * row.sharpe_ratio <= 0.0:
        return None
    total, sharpe, volatility = abs(row.cumulative_return), abs(row.sharpe_ratio), row.annual_volatility
    half_total, half_sharpe, half_volatility, _ = (HALF_UNIT[metric] for metric in METRICS)
    if sharpe <= half_sharpe or volatility <= half_volatility:
        return None
    low = days_mean * (total - half_total) / ((sharpe + half_sharpe) * (volatility + half_volatility))
    high = days_mean * (total + half_total) / ((sharpe - half_sharpe) * (volatility - half_volatility))
    return ImpliedDays(
        days_mean=days_mean,
        estimate=days_mean * total / (sharpe * volatility),
        low=low,
        high=high,
        integers=tuple(range(math.ceil(low), math.floor(high) + 1)),
    )


def volatility_ceiling(returns: Floats, days: int) -> float:
    """No positions in {-1, 0, 1} have a higher AV on these returns [m]: sqrt(sum r^2 / (m - 1)) x sqrt(days).

    The sample variance is (sum p^2 r^2 - m mean^2) / (m - 1), and neither p^2 <= 1 nor the mean can raise it.
    """
    return math.sqrt(float(np.square(returns).sum()) / (len(returns) - 1) * days)


def ceiling_from_hold_row(row: PublishedRow, num_returns: int, days_row: int, days: int) -> float:
    """`volatility_ceiling` read off a printed Buy & Hold row: its CR and AV give sum r^2 without any price.

    Args:
        row: a Buy & Hold row.
        num_returns: returns behind it, m.
        days_row: sessions a year in its AV.
        days: sessions a year in the ceiling.
    """
    volatility = row.annual_volatility + HALF_UNIT[ANNUAL_VOLATILITY]
    total = abs(row.cumulative_return) + HALF_UNIT[CUMULATIVE_RETURN]
    squares = volatility**2 / days_row * (num_returns - 1) + total**2 / num_returns
    return math.sqrt(squares / (num_returns - 1) * days)


def exceeds(row: PublishedRow, ceiling: float) -> bool:
    """Whether the printed AV, however it was rounded, is above `ceiling`."""
    return row.annual_volatility - HALF_UNIT[ANNUAL_VOLATILITY] > ceiling


def flat_days(row: PublishedRow, returns: Floats, days: int) -> FlatDays:
    """How much CR flat days can have added to a long-or-flat row.

    A flat day takes r_i^2 out of the sum of squares and adds -r_i to CR. The printed AV and CR fix the sum of squares
    of the days held, (m - 1) AV^2 / days + CR^2 / m, and so what all flat days together took out. Within that,
    nothing adds more than to miss falls, the smallest first (they add most per square), the last of them in part: a
    fractional knapsack, which no choice of whole days beats.

    Args:
        row: printed CR and AV.
        returns: log returns of the symbol, [m].
        days: sessions a year in the printed AV.
    """
    num_returns = len(returns)
    volatility = row.annual_volatility - HALF_UNIT[ANNUAL_VOLATILITY]
    total = max(abs(row.cumulative_return) - HALF_UNIT[CUMULATIVE_RETURN], 0.0)
    held = volatility**2 / days * (num_returns - 1) + total**2 / num_returns
    room = float(np.square(returns).sum()) - held
    needed = row.cumulative_return - float(returns.sum())
    at_most = None if room < 0.0 else _knapsack(np.sort(-returns[returns < 0.0]), room)
    return FlatDays(
        num_returns=num_returns,
        days_volatility=days,
        needed=needed,
        at_most=at_most,
        possible=at_most is not None and needed - HALF_UNIT[CUMULATIVE_RETURN] <= at_most,
    )


def _knapsack(falls: Floats, room: float) -> float:
    """Largest sum of `falls` (ascending, positive) whose squares sum to `room`, the last taken in part."""
    used = np.cumsum(np.square(falls))
    whole = int(np.searchsorted(used, room, side="right"))
    added = float(falls[:whole].sum())
    if whole == len(falls):
        return added
    left = room - (float(used[whole - 1]) if whole else 0.0)
    return added + left / float(falls[whole])


def agreeing_metrics(row: PublishedRow, scores: Mapping[str, float | None]) -> tuple[str, ...]:
    """Metrics in which `scores` give the printed numbers to the printed decimals."""
    printed = row.scores()
    return tuple(metric for metric in METRICS if same_as_printed(metric, scores[metric], printed[metric]))


def same_series(first: PublishedRow, second: PublishedRow, ratio: float) -> bool:
    """Whether two rows print the same CR and volatilities that differ by the factor `ratio`, within rounding."""
    half = HALF_UNIT[ANNUAL_VOLATILITY]
    low = (first.annual_volatility - half) / (second.annual_volatility + half)
    high = (first.annual_volatility + half) / (second.annual_volatility - half)
    return first.cumulative_return == second.cumulative_return and low <= ratio <= high


def rescaled_sharpe(row: PublishedRow, days_volatility: int, days: int) -> float:
    """The printed Sharpe ratio with sqrt(`days`) instead of sqrt(`days_volatility`) in its volatility."""
    return row.sharpe_ratio * math.sqrt(days_volatility / days)


def rank(values: Sequence[float], index: int) -> int:
    """Rank of `values[index]`, largest first, 1 is best; equal values share the better rank."""
    return 1 + sum(value > values[index] for value in values)
