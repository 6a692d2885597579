"""Whether action probabilities mean what they say: held against what the next session did.

A policy that says "buy" with 0.8 says, in effect, that the price will rise until it can decide anew. "The Alpha
Illusion" (arXiv:2605.16895) asks for these figures of every language-model trader.

Shape legend: S = symbols, T = sessions of the longest, n = decisions of all symbols.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from flag_kedro.backtest.standard_errors import hac_error
from flag_kedro.env.account import Bools, Floats
from flag_kedro.env.window import TradingWindow

NUM_BINS = 10
NORMAL_95 = 1.959963984540054


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Decisions of like probability; saved as JSON in this order."""

    probability: float
    """Mean."""
    rose: float
    """Share after which the price rose."""
    num: int


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Of one strategy on all symbols; saved as JSON in this order."""

    num_decisions: int
    brier: float
    """Mean squared difference of the probability of being long and whether the price rose (Brier 1950)."""
    brier_constant: float
    """Of somebody who always says how often it rose."""
    skill: float | None
    """1 - brier / brier_constant; None where the price always rose, or never."""
    improvement_ci95: tuple[float, float]
    """Of brier_constant - brier, from errors that allow for autocorrelation over sessions (`hac_error`)."""
    expected_error: float
    """Expected calibration error: |probability - rose| over the bins, by how many decisions are in each."""
    bins: list[Bin]
    """Of as many decisions each (at most ten), the least probable first: the reliability curve."""


def calibrate(decisions: pl.DataFrame, window: TradingWindow, *, long_short: bool) -> dict[str, Calibration]:
    """Calibration of every strategy that has probabilities, whose decisions are all that it took.

    What counts is the price from the fill of a decision to the next one's. The last two decisions have none.

    Args:
        decisions: columns of `replay.DECISIONS`.
        window: that they were taken on.
        long_short: whether `sell` goes short, so that holding a flat account says neither.
    """
    rose, known = _outcomes(window)
    found = {}
    for (strategy,), table in decisions.group_by("strategy", maintain_order=True):
        if table["prob_buy"].null_count():
            continue
        probability = np.full(rose.shape, np.nan)
        for (symbol,), rows in table.group_by("symbol"):
            said = _probability_of_long(rows.sort("session"), long_short=long_short)
            probability[window.symbols.index(str(symbol)), : len(said)] = said
        usable = known & ~np.isnan(probability)
        if usable.any():
            found[str(strategy)] = _calibration(probability, rose, usable)
    return found


def _outcomes(window: TradingWindow) -> tuple[Floats, Bools]:
    """Whether the price rose after each decision's fill until the next fill, and where that is known, [S, T]."""
    fills = window.fill_prices
    rose, known = np.zeros(fills.shape), np.zeros(fills.shape, dtype=bool)
    rose[:, :-2] = fills[:, 2:] > fills[:, 1:-1]
    known[:, :-2] = np.isfinite(fills[:, 2:]) & np.isfinite(fills[:, 1:-1])
    return rose, known


def _probability_of_long(decisions: pl.DataFrame, *, long_short: bool) -> Floats:
    """Of being long after the fill; half of what keeps an account flat that could have gone short, [n]."""
    kept = pl.when(pl.col("position") == 1).then(1.0).when(pl.col("position") == 0).then(0.5 if long_short else 0.0)
    said = pl.col("prob_buy") + pl.col("prob_hold") * kept.otherwise(0.0)
    return decisions.select(said=said)["said"].to_numpy()


def _calibration(probability: Floats, rose: Floats, usable: Bools) -> Calibration:
    p, y = probability[usable], rose[usable]
    share = float(y.mean())
    brier, constant = float(((p - y) ** 2).mean()), share * (1.0 - share)
    better = np.where(usable, (share - rose) ** 2 - (probability - rose) ** 2, np.nan)
    by_session = np.array([column[~np.isnan(column)].sum() for column in better.T if (~np.isnan(column)).any()])
    half = NORMAL_95 * float(hac_error(by_session)) * len(by_session) / len(p)
    bins = _bins(p, y)
    return Calibration(
        num_decisions=len(p),
        brier=brier,
        brier_constant=constant,
        skill=1.0 - brier / constant if constant > 0.0 else None,
        improvement_ci95=(constant - brier - half, constant - brier + half),
        expected_error=sum(each.num * abs(each.probability - each.rose) for each in bins) / len(p),
        bins=bins,
    )


def _bins(p: Floats, y: Floats) -> list[Bin]:
    """Decisions in the order of their probability, cut into bins of as many; equal probabilities stay together."""
    order = np.argsort(p, kind="stable")
    values, starts = np.unique(p[order], return_index=True)
    wanted = np.linspace(0, len(p), min(NUM_BINS, len(values)) + 1)[1:-1]
    cuts = sorted({int(starts[np.abs(starts - cut).argmin()]) for cut in wanted} - {0})
    parts: Sequence[Floats] = np.split(order, cuts)
    return [Bin(probability=float(p[part].mean()), rose=float(y[part].mean()), num=len(part)) for part in parts]
