"""Statements about closes, one true and others false, by which a model shows whether it recalls the market."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from flag_kedro.data.streams import stream
from flag_kedro.env.account import Ints

MAX_SPACING = 3
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
    """Index of the true one in `closes`."""
    rose: bool | None
    """Whether the session's adjusted close lies above the one before; None where they are equal or there is none."""

    @property
    def context(self) -> str:
        """The text before the number."""
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
    change = pl.col("adj_close") - pl.col("adj_close").shift(1).over("symbol")
    table = prices.sort("symbol", "session").with_columns(change.alias("change"))
    table = table.filter(pl.col("session").is_between(*window))
    symbols = {str(symbol): rows for (symbol,), rows in table.group_by("symbol", maintain_order=True)}
    starts = [
        (symbol, first, spacing)
        for symbol, rows in symbols.items()
        if (spacing := min(MAX_SPACING, (rows.height - 1) // alternatives)) > 0
        for first in range(rows.height - alternatives * spacing)
    ]
    rng = stream(seed, "statements", *map(str, window))
    truths = rng.integers(alternatives + 1, size=len(starts))
    chosen: dict[tuple[str, int], CloseStatement] = {}
    for k in rng.permutation(len(starts)):
        symbol, first, spacing = starts[k]
        true_row = first + spacing * int(truths[k])
        if (symbol, true_row) not in chosen and len(chosen) < num:
            row_indices = first + spacing * np.arange(alternatives + 1)
            subject = _name_subject(symbol, names)
            chosen[symbol, true_row] = _write_statement(symbols[symbol], subject, row_indices, int(truths[k]))
    return list(chosen.values())


def _name_subject(symbol: str, names: Mapping[str, Sequence[str]]) -> str:
    """`NAME (SYMBOL)`, or the symbol alone where no name is known."""
    company_names = names.get(symbol)
    return f"{company_names[0]} ({symbol})" if company_names else symbol


def _write_statement(table: pl.DataFrame, subject: str, row_indices: Ints, truth: int) -> CloseStatement:
    """The statement about one symbol's `table` whose closes stand at `row_indices`, the true one at `truth` of them."""
    true_row = int(row_indices[truth])
    session, change = table["session"][true_row], table["change"][true_row]
    return CloseStatement(
        session=session,
        subject=f"On {session} the stock of {subject}",
        closes=tuple(print_close(table["close"][int(row)]) for row in row_indices),
        truth=truth,
        rose=None if not change else change > 0,
    )


def print_close(close: float) -> str:
    """A close as newspapers print it: two decimals, or four digits below 1."""
    return f"{close:.2f}" if close >= 1.0 else f"{close:.4g}"
