"""A window of market states as arrays, behind the gate that keeps the future out.

Shape legend: S = symbols, T = sessions of the longest symbol.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from flag_kedro.data.schema import DataError
from flag_kedro.env.account import Floats, Ints
from flag_kedro.env.config import Fill
from flag_kedro.env.prompt import write_prefix

logger = logging.getLogger(__name__)


class LookAheadError(ValueError):
    """A market state holds something that became known after its decision."""


@dataclass(frozen=True)
class TradingWindow:
    """Everything the environment may show or trade at; shorter symbols are padded with NaN at the end."""

    fill: Fill
    """Which price `fill_prices` are."""
    symbols: tuple[str, ...]
    sessions: tuple[tuple[date, ...], ...]
    """Session dates of each symbol, ascending."""
    prefixes: tuple[tuple[str, ...], ...]
    """Prompt prefix of each symbol and session."""
    fill_prices: Floats
    """Price at which the decision of the session before fills, [S, T]; never read at t = 0."""
    mark_prices: Floats
    """Close at which equity is marked, [S, T]."""
    num_sessions: Ints
    """Sessions of each symbol, [S]."""


def effective_fill(fill: Fill, states: Mapping[str, pl.DataFrame]) -> Fill:
    """`fill`, or `next_close` where a symbol has no opens at all to fill at (SEMANTICS section 1).

    Raises:
        DataError: when a symbol has opens on some sessions only.
    """
    if fill != "next_open":
        return fill
    without = []
    for symbol, table in states.items():
        missing = table["open_price"].null_count()
        if missing == table.height:
            without.append(symbol)
        elif missing:
            raise DataError(
                f"{symbol}: {missing} of {table.height} sessions have no open to fill at; set env.fill to next_close"
            )
    if without:
        logger.warning("no opens in the source for %s: decisions fill at next_close, not next_open", " ".join(without))
        return "next_close"
    return fill


def cut_window(states: Mapping[str, pl.DataFrame], window: tuple[date, date], fill: Fill) -> TradingWindow:
    """Cut `window` (first and last session, both included) out of the market states.

    Args:
        states: tables of `features.market_state`, one per symbol.
        window: session dates.
        fill: which price decisions fill at; see `effective_fill`.

    Raises:
        LookAheadError: when a state holds anything known later than its decision.
        DataError: when a price is missing.
    """
    tables = {symbol: table.filter(pl.col("session").is_between(*window)) for symbol, table in states.items()}
    for symbol, table in tables.items():
        _check_known(symbol, table)
        if table.height < 2:
            raise DataError(
                f"{symbol} has {table.height} session(s) from {window[0]} to {window[1]}; at least 2 are needed"
            )
    longest = max(table.height for table in tables.values())
    column = "open_price" if fill == "next_open" else "mark_price"
    return TradingWindow(
        fill=fill,
        symbols=tuple(tables),
        sessions=tuple(tuple(table["session"]) for table in tables.values()),
        prefixes=tuple(
            tuple(write_prefix(market, news) for market, news in table.select("market_text", "news_text").iter_rows())
            for table in tables.values()
        ),
        fill_prices=np.stack([_padded(symbol, table, column, longest) for symbol, table in tables.items()]),
        mark_prices=np.stack([_padded(symbol, table, "mark_price", longest) for symbol, table in tables.items()]),
        num_sessions=np.array([table.height for table in tables.values()], dtype=np.int64),
    )


def _check_known(symbol: str, table: pl.DataFrame) -> None:
    leaks = table.filter(pl.col("known_at") > pl.col("decided_at"))
    if leaks.height:
        row = leaks.row(0, named=True)
        raise LookAheadError(
            f"{symbol} {row['session']}: the state uses something available at {row['known_at']}, "
            f"after its decision at {row['decided_at']}; {leaks.height} state(s) in all. Rebuild the features"
        )


def _padded(symbol: str, table: pl.DataFrame, column: str, length: int) -> Floats:
    if table[column].null_count():
        raise DataError(f"{symbol}: {column} is missing in {table[column].null_count()} session(s)")
    padded = np.full(length, np.nan)
    padded[: table.height] = table[column].to_numpy()
    return padded
