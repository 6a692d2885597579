"""Rows of prices that tell the same session: equal ones count once, others as `files.duplicates` says."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from flag_kedro.data.files.delimited import ROW
from flag_kedro.data.files.tables import refuse

FILE = "__file__"
KEYS = ("symbol", "session")
PLACES = (FILE, ROW)


def one_row_a_session(
    prices: pl.DataFrame, paths: Sequence[Path], duplicates: str
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Prices with one row for each symbol and session.

    Args:
        prices: rows in the order they were read, with `FILE` (an index of `paths`) and `ROW`.
        paths: the files.
        duplicates: `refuse` rows of a session that differ, or let the `first` or the `last` count.

    Returns:
        The rows, and how many equal and how many differing ones were left out.

    Raises:
        DataError: naming file and row of those that differ.
    """
    distinct = prices.unique(pl.exclude(PLACES), keep="first", maintain_order=True)
    repeated = distinct.filter(pl.struct(KEYS).is_duplicated())
    if duplicates == "refuse":
        refuse(_differing(repeated, paths))
        kept = distinct
    else:
        kept = distinct.unique(KEYS, keep="first" if duplicates == "first" else "last", maintain_order=True)
    return kept, {"equal_rows": prices.height - distinct.height, "differing_rows": distinct.height - kept.height}


def _differing(repeated: pl.DataFrame, paths: Sequence[Path]) -> list[str]:
    """One line for each session that several rows tell in several ways."""
    lines = []
    for (symbol, session), rows in repeated.group_by(KEYS, maintain_order=True):
        first, second, *more = rows.iter_rows(named=True)
        names = [name for name in rows.columns if name not in (*KEYS, *PLACES) and rows[name].n_unique() > 1]
        told = [
            f"{paths[row[FILE]]} row {row[ROW]} ({', '.join(f'{name} {row[name]}' for name in names)})"
            for row in (first, second)
        ]
        lines.append(
            f"{symbol} {session}: {' and '.join(told)}{f' and {len(more)} more' if more else ''} tell one session in "
            "several ways. If these are several bars of a day, bring daily ones; if they are of several symbols, name "
            "the column that says of which by files.columns.symbol, or each file by its symbol; if one is a "
            "correction, say which counts: files.duplicates=last (or first)"
        )
    return lines
