"""The printed Buy & Hold rows, recomputed from prices by the benchmark's own formulas."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

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


def hold_variants(closes: Floats) -> list[dict[str, Any]]:
    """Buy & Hold with and without the last day, each with sqrt(252) and sqrt(365); the mean always x 252.

    Returns:
        For each `window`, `days_volatility`, `num_prices` and the four metrics.
    """
    return [
        {"window": window, "days_volatility": days, "num_prices": len(part)}
        | _four(hold_scores(part, days_mean=STOCK_DAYS, days_volatility=days))
        for window, part in window_closes(closes).items()
        for days in (STOCK_DAYS, CRYPTO_DAYS)
    ]


def reproduce_rows(prices: Mapping[str, pl.DataFrame]) -> dict[str, dict[str, Any]]:
    """Recompute the printed Buy & Hold row of every symbol at hand, under its own convention.

    Args:
        prices: for each symbol `session` and `close`, ascending.

    Returns:
        By symbol: `convention`, `printed`, `recomputed`, `matches` (by metric, to the printed decimals) and
        `variants` (`hold_variants`). Ratios are decimals.

    Raises:
        DataError: when a file does not cover the published window.
    """
    return {symbol: _reproduce(symbol, benchmark_closes(symbol, table)) for symbol, table in prices.items()}


def _reproduce(symbol: str, closes: Floats) -> dict[str, Any]:
    convention = CONVENTIONS[symbol]
    used = window_closes(closes)[DROPPED if convention.last_day_dropped else FULL]
    scores = hold_scores(used, days_mean=convention.days_mean, days_volatility=convention.days_volatility)
    printed = published_row(HOLD, symbol).scores()
    return {
        "convention": _as_json(convention),
        "printed": printed,
        "recomputed": _four(scores),
        "matches": {metric: same_as_printed(metric, scores[metric], printed[metric]) for metric in METRICS},
        "variants": hold_variants(closes),
    }


def _four(scores: Scores) -> Scores:
    return {metric: scores[metric] for metric in METRICS}


def _as_json(convention: HoldConvention) -> dict[str, Any]:
    def text(window: tuple[date, date]) -> list[str]:
        return [day.isoformat() for day in window]

    return asdict(convention) | {
        "benchmark_window": text(convention.benchmark_window),
        "window": text(convention.window),
        "last_day_dropped": convention.last_day_dropped,
        "text": convention.describe(),
    }
