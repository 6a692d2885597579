"""Statements about closes, one true and others false, by which a model shows whether it recalls the market."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from flag_kedro.data.streams import stream
from flag_kedro.env.account import Ints

APART = 3
"""Sessions between two closes that are compared, where the window is long enough."""
DIRECTIONS = (" fell", " rose")


@dataclass(frozen=True)
class CloseStatement:
    """On one session one close is true; the others are those of the same symbol at other sessions nearby."""

    session: date
    subject: str
    """`On SESSION the stock of NAME (SYMBOL)`."""
    closes: tuple[str, ...]
    """As printed, of increasing sessions."""
    truth: int
    """Which of them is true."""
    rose: bool | None
    """Whether the session's adjusted close lies above the one before; None where they are equal or there is none."""

    @property
    def stem(self) -> str:
        """What comes before the number."""
        return f"{self.subject} closed at"


def draw_statements(
    prices: pl.DataFrame,
    names: Mapping[str, Sequence[str]],
    window: tuple[date, date],
    num: int,
    alternatives: int,
    seed: int,
) -> list[CloseStatement]:
    """Draw statements about one window.

    A stretch of sessions is drawn first and then, uniformly, which of them is the true one. So whatever numbers a
    model likes, the true one's rank is uniform unless the model knows which number belongs to the date. For a model
    whose scores depend on the number alone, ranks of different statements are independent. Where scores depend on
    the date too, statements that are true of the same symbol and session would repeat one score; so each is drawn
    at most once, which favours a window's ends a little. A test of the ranks is therefore approximate.

    Args:
        prices: the prices table; closes are the unadjusted ones, as they were printed at the time.
        names: what articles call the company of a symbol; the first is used, or else the ticker alone.
        window: first and last session.
        num: statements at most; fewer where the window has fewer stretches, or sessions to be true of.
        alternatives: false closes beside each true one.
        seed: of the draws.

    Returns:
        None at all where no symbol has more than `alternatives` sessions in the window.
    """
    up = pl.col("adj_close") - pl.col("adj_close").shift(1).over("symbol")
    table = prices.sort("symbol", "session").with_columns(up.alias("up"))
    table = table.filter(pl.col("session").is_between(*window))
    symbols = {str(symbol): own for (symbol,), own in table.group_by("symbol", maintain_order=True)}
    starts = [
        (symbol, first, apart)
        for symbol, own in symbols.items()
        if (apart := min(APART, (own.height - 1) // alternatives)) > 0
        for first in range(own.height - alternatives * apart)
    ]
    rng = stream(seed, "statements", *map(str, window))
    truths = rng.integers(alternatives + 1, size=len(starts))
    chosen: dict[tuple[str, int], CloseStatement] = {}
    for k in rng.permutation(len(starts)):
        symbol, first, apart = starts[k]
        true_of = (symbol, first + apart * int(truths[k]))
        if true_of not in chosen and len(chosen) < num:
            rows = first + apart * np.arange(alternatives + 1)
            chosen[true_of] = _statement(symbols[symbol], symbol, names, rows, int(truths[k]))
    return list(chosen.values())


def _statement(
    own: pl.DataFrame, symbol: str, names: Mapping[str, Sequence[str]], rows: Ints, truth: int
) -> CloseStatement:
    session, up = own["session"][int(rows[truth])], own["up"][int(rows[truth])]
    known = names.get(symbol)
    return CloseStatement(
        session=session,
        subject=f"On {session} the stock of {f'{known[0]} ({symbol})' if known else symbol}",
        closes=tuple(print_close(own["close"][int(row)]) for row in rows),
        truth=truth,
        rose=None if not up else up > 0,
    )


def print_close(close: float) -> str:
    """A close as newspapers print it: two decimals, or four digits below 1."""
    return f"{close:.2f}" if close >= 1.0 else f"{close:.4g}"
