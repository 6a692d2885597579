"""Every row of the published table with what its numbers imply, beside what the prices allow."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import polars as pl

from flag_kedro.backtest.scores import CRYPTO_DAYS, STOCK_DAYS
from flag_kedro.env.account import Floats
from flag_kedro.published.audit import (
    FlatDays,
    ImpliedDays,
    agreeing_metrics,
    ceiling_from_hold_row,
    exceeds,
    flat_days,
    implied_days,
    rank,
    rescaled_sharpe,
    volatility_ceiling,
)
from flag_kedro.published.results import (
    CONVENTIONS,
    FLAG,
    HOLD,
    PublishedRow,
    load_published,
    volatility_days,
)
from flag_kedro.published.rows import HoldVariant, benchmark_closes, hold_variants, window_closes

BASES = (STOCK_DAYS, CRYPTO_DAYS)
Volatility = Literal["possible", "needs sqrt(365)", "impossible"]


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """The highest AV that positions of -1, 0 and 1 can have on a symbol."""

    days: dict[int, float]
    """By sessions a year in the volatility."""
    from_prices: bool
    """From the symbol's own prices; else from its printed Buy & Hold row, which covers that row's window only."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Ranks among the models of a symbol, largest first, 1 is best."""

    cumulative_return: int
    sharpe_printed: int
    sharpe_common: int
    """With sqrt(252) in every volatility, each row's own basis as `published.volatility_days` has it."""
    sharpe_other: int
    """The same, were this row's volatility on the other basis of 252 and 365."""


@dataclass(frozen=True, kw_only=True)
class MatchedVariant(HoldVariant):
    """The Buy & Hold variant that a row has most metrics in common with."""

    metrics: tuple[str, ...]
    """Those that agree to the printed decimals."""


@dataclass(frozen=True, kw_only=True)
class AuditedRow:
    """One printed row and what follows from it."""

    row: PublishedRow
    implied: dict[int, ImpliedDays | None]
    """By sessions a year in the mean."""
    window_days: dict[int, tuple[int, ...]]
    """Those implied whole numbers that are the prices or returns of one of the two windows, by the same."""
    ceiling: Ceiling
    volatility: Volatility
    hold_variant: MatchedVariant | None
    """None without prices or agreement."""
    flat: dict[str, dict[int, FlatDays]] | None
    """For long-or-flat claims with prices: by window and sessions a year in the volatility."""
    volatility_days: int
    sharpe_common: float
    """The Sharpe ratio with sqrt(252) in its volatility, were `volatility_days` what the printed one has."""
    ranks: Ranks


def audit_table(prices: Mapping[str, pl.DataFrame]) -> tuple[AuditedRow, ...]:
    """Audit every row of the table; what needs prices only for the symbols in `prices`.

    Args:
        prices: for each symbol at hand `session` and `close`, ascending.

    Raises:
        DataError: when a file does not cover the published window.
    """
    closes = {symbol: benchmark_closes(symbol, table) for symbol, table in prices.items()}
    audited: list[AuditedRow] = []
    for symbol in CONVENTIONS:
        rows = [row for row in load_published() if row.symbol == symbol]
        audited += audit_symbol(rows, closes.get(symbol))
    return tuple(audited)


def audit_symbol(rows: list[PublishedRow], closes: Floats | None) -> list[AuditedRow]:
    """Audit all rows of one symbol, given its closes [n] where they are at hand."""
    hold = next(row for row in rows if row.model == HOLD)
    ceiling = _ceiling_of_hold(hold) if closes is None else _ceiling_of_prices(closes)
    variants = [] if closes is None else hold_variants(closes)
    audited = []
    for row, ranks in zip(rows, _ranks(rows), strict=True):
        implied = {days: implied_days(row, days) for days in BASES}
        days_row = volatility_days(row.model, row.symbol)
        audited.append(
            AuditedRow(
                row=row,
                implied=implied,
                window_days={days: _window_days(row.symbol, each) for days, each in implied.items()},
                ceiling=ceiling,
                volatility=_volatility(row, ceiling),
                hold_variant=_nearest_hold(row, variants),
                flat=_flat(row, closes) if row.model == FLAG and closes is not None else None,
                volatility_days=days_row,
                sharpe_common=rescaled_sharpe(row, days_row, STOCK_DAYS),
                ranks=ranks,
            )
        )
    return audited


def _ranks(rows: list[PublishedRow]) -> list[Ranks]:
    bases = [volatility_days(row.model, row.symbol) for row in rows]
    returns = [row.cumulative_return for row in rows]
    printed = [row.sharpe_ratio for row in rows]
    common = [rescaled_sharpe(row, days, STOCK_DAYS) for row, days in zip(rows, bases, strict=True)]
    ranks = []
    for index, row in enumerate(rows):
        other = rescaled_sharpe(row, STOCK_DAYS + CRYPTO_DAYS - bases[index], STOCK_DAYS)
        ranks.append(
            Ranks(
                cumulative_return=rank(returns, index),
                sharpe_printed=rank(printed, index),
                sharpe_common=rank(common, index),
                sharpe_other=rank([*common[:index], other, *common[index + 1 :]], index),
            )
        )
    return ranks


def _log_returns(closes: Floats) -> Floats:
    returns: Floats = np.diff(np.log(closes))
    return returns


def _ceiling_of_prices(closes: Floats) -> Ceiling:
    """The higher ceiling of the two windows."""
    parts = [_log_returns(part) for part in window_closes(closes).values()]
    return Ceiling(
        days={days: max(volatility_ceiling(returns, days) for returns in parts) for days in BASES}, from_prices=True
    )


def _ceiling_of_hold(hold: PublishedRow) -> Ceiling:
    convention = CONVENTIONS[hold.symbol]
    num_returns, days_row = convention.num_prices - 1, convention.days_volatility
    return Ceiling(
        days={days: ceiling_from_hold_row(hold, num_returns, days_row, days) for days in BASES}, from_prices=False
    )


def _volatility(row: PublishedRow, ceiling: Ceiling) -> Volatility:
    if row.model == HOLD and not ceiling.from_prices:
        return "possible"  # the ceiling was read off this very row
    if exceeds(row, ceiling.days[CRYPTO_DAYS]):
        return "impossible"
    return "needs sqrt(365)" if exceeds(row, ceiling.days[STOCK_DAYS]) else "possible"


def _window_days(symbol: str, implied: ImpliedDays | None) -> tuple[int, ...]:
    prices = CONVENTIONS[symbol].benchmark_prices
    lengths = (prices, prices - 1, prices - 2)
    return () if implied is None else tuple(number for number in implied.integers if number in lengths)


def _nearest_hold(row: PublishedRow, variants: list[HoldVariant]) -> MatchedVariant | None:
    """The first variant with most metrics in common; None where none has any."""
    matched = [
        MatchedVariant(**asdict(variant), metrics=agreeing_metrics(row, variant.scores())) for variant in variants
    ]
    best = max(matched, key=lambda variant: len(variant.metrics), default=None)
    return best if best and best.metrics else None


def _flat(row: PublishedRow, closes: Floats) -> dict[str, dict[int, FlatDays]]:
    return {
        window: {days: flat_days(row, _log_returns(part), days) for days in BASES}
        for window, part in window_closes(closes).items()
    }
