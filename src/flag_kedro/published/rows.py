"""The printed Buy & Hold rows, recomputed from prices by the benchmark's own formulas."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import polars as pl

from flag_kedro.backtest.scores import CRYPTO_DAYS, STOCK_DAYS, Scores, investorbench_scores
from flag_kedro.env.account import Floats
from flag_kedro.errors import DataError
from flag_kedro.published.results import (
    CONVENTIONS,
    HOLD,
    METRICS,
    HoldConvention,
    published_row,
    same_as_printed,
)

FULL, DROPPED = "full window", "last day dropped"


def benchmark_closes(symbol: str, prices: pl.DataFrame) -> Floats:
    """Closes of `symbol` over the benchmark's test window, [n].

    Args:
        symbol: one of `CONVENTIONS`.
        prices: `session` and `close`, ascending.

    Raises:
        DataError: when the file does not cover the window.
    """
    convention = CONVENTIONS[symbol]
    first, last = convention.benchmark_window
    closes = prices.filter(pl.col("session").is_between(first, last))["close"].to_numpy()
    if len(closes) != convention.benchmark_prices:
        raise DataError(
            f"{symbol}: {len(closes)} prices from {first} to {last}, where the benchmark has "
            f"{convention.benchmark_prices}; use InvestorBench's own {symbol.lower()}.json"
        )
    return closes


def window_closes(closes: Floats) -> dict[str, Floats]:
    """`closes` [n] over both windows that printed rows use: [n] and [n - 1]."""
    return {FULL: closes, DROPPED: closes[:-1]}


def hold_scores(closes: Floats, *, days_mean: int, days_volatility: int) -> Scores:
    """Buy & Hold over `closes` [n] in the benchmark's convention."""
    held = np.ones(len(closes), dtype=np.int64)
    return investorbench_scores(held, closes, days_mean=days_mean, days_volatility=days_volatility)


@dataclass(frozen=True, kw_only=True)
class HoldVariant:
    """Buy & Hold over one window with one basis of the volatility; the mean is always x 252."""

    window: str
    """`FULL` or `DROPPED`."""
    days_volatility: int
    """Sessions a year in the volatility."""
    num_prices: int
    cumulative_return: float | None
    sharpe_ratio: float | None
    annual_volatility: float | None
    max_drawdown: float | None

    def scores(self) -> dict[str, float | None]:
        """The four metrics by name."""
        return {metric: getattr(self, metric) for metric in METRICS}


@dataclass(frozen=True, kw_only=True)
class RebuiltRow:
    """A printed Buy & Hold row beside its recomputation; ratios are decimals."""

    convention: HoldConvention
    printed: dict[str, float]
    """By metric."""
    recomputed: Scores
    """By metric, under `convention`."""
    matches: dict[str, bool]
    """By metric, whether both are the same to the printed decimals."""
    variants: list[HoldVariant]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self) | {"convention": self.convention.as_dict()}


def hold_variants(closes: Floats) -> list[HoldVariant]:
    """Buy & Hold with and without the last day, each with sqrt(252) and sqrt(365), for `closes` [n]."""
    return [
        _hold_variant(window, part, days)
        for window, part in window_closes(closes).items()
        for days in (STOCK_DAYS, CRYPTO_DAYS)
    ]


def _hold_variant(window: str, closes: Floats, days: int) -> HoldVariant:
    scores = hold_scores(closes, days_mean=STOCK_DAYS, days_volatility=days)
    return HoldVariant(window=window, days_volatility=days, num_prices=len(closes), **_four(scores))


def reproduce_rows(prices: Mapping[str, pl.DataFrame]) -> dict[str, RebuiltRow]:
    """Recompute the printed Buy & Hold row of every symbol at hand, under its own convention.

    Args:
        prices: for each symbol `session` and `close`, ascending.

    Raises:
        DataError: when a file does not cover the published window.
    """
    return {symbol: _reproduce(symbol, benchmark_closes(symbol, table)) for symbol, table in prices.items()}


def _reproduce(symbol: str, closes: Floats) -> RebuiltRow:
    convention = CONVENTIONS[symbol]
    used = window_closes(closes)[DROPPED if convention.last_day_dropped else FULL]
    scores = hold_scores(used, days_mean=convention.days_mean, days_volatility=convention.days_volatility)
    printed = published_row(HOLD, symbol).scores()
    return RebuiltRow(
        convention=convention,
        printed=printed,
        recomputed=_four(scores),
        matches={metric: same_as_printed(metric, scores[metric], printed[metric]) for metric in METRICS},
        variants=hold_variants(closes),
    )


def _four(scores: Scores) -> Scores:
    return {metric: scores[metric] for metric in METRICS}
