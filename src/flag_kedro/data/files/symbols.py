"""Symbols of rows: as they are called here, several in one cell, and a count of rows about none that is wanted."""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from flag_kedro.data.files.parsing import read_texts
from flag_kedro.data.form import MARKS, TableForm, as_param
from flag_kedro.errors import DataError

EXAMPLES = 5
"""Texts named in a message."""
SEPARATORS = ("comma", "semicolon", "pipe", "blank")
"""Marks that may stand between symbols."""


@dataclass
class Tally:
    """Rows that were read, and what those name that are about no wanted symbol."""

    rows: int = 0
    others: Counter[str] = field(default_factory=Counter)
    """By the text of the cell."""
    without: int = 0
    """Rows that name no symbol."""
    tables: list[str] = field(default_factory=list)
    """Symbols of tables that were not opened, since their name is another symbol."""
    nested: Counter[str] = field(default_factory=Counter)
    """Columns that hold lists or objects where texts belong, and in how many tables."""
    wanted: set[str] = field(default_factory=set)
    """Wanted symbols that rows name."""
    unwanted: set[str] = field(default_factory=set)
    """The other symbols that rows name."""

    @property
    def left_out(self) -> int:
        """Rows about no wanted symbol."""
        return self.others.total() + self.without


def read_symbols(raw: pl.Series, form: TableForm, table_name: str) -> pl.Series:
    """Symbols in capitals, as they are called here.

    Raises:
        DataError: when the column's type holds no texts.
    """
    texts = read_texts(raw, table_name).str.strip_chars().str.to_uppercase()
    return texts.replace(form.our_symbols).alias("symbol") if form.symbols else texts.alias("symbol")


def wanted_rows(
    piece: pl.DataFrame,
    column: str,
    wanted: Collection[str],
    form: TableForm,
    separator: str | None,
    tally: Tally,
    table_name: str,
) -> tuple[pl.DataFrame, pl.Series]:
    """The rows about wanted symbols, once for each that a cell names, and their symbols; the others go to `tally`.

    A list names each of its symbols, also one that is written as text: ['ACME', 'BRK-B'].

    Args:
        piece: raw rows.
        column: of their symbols.
        wanted: symbols as they are called here.
        form: how the table is written.
        separator: name of the mark between symbols in a text that is no list; None where that is one symbol.
        tally: what is counted so far.
        table_name: for messages.

    Raises:
        DataError: when the column's type holds neither texts nor lists of them.
    """
    raw = piece[column]
    if isinstance(raw.dtype, pl.List):
        cells = pl.select(pl.format("[{}]", raw.cast(pl.List(pl.String)).list.join(","))).to_series()
    else:
        cells = read_texts(raw, table_name)
    counts = dict(cells.alias("cell").value_counts().iter_rows())
    named = {cell: symbols_in(cell, form, separator) for cell in counts if cell is not None}
    known = set(wanted)
    kept = {cell: [symbol for symbol in symbols if symbol in known] for cell, symbols in named.items()}
    every = {symbol for symbols in named.values() for symbol in symbols}
    tally.wanted |= every & known
    tally.unwanted |= every - known
    tally.rows += piece.height
    tally.without += sum(num for cell, num in counts.items() if not named.get(cell))
    tally.others.update({cell: counts[cell] for cell in named if named[cell] and not kept[cell]})
    table = pl.DataFrame(
        {"cell": list(kept), "symbol": list(kept.values())}, schema={"cell": pl.String, "symbol": pl.List(pl.String)}
    ).filter(pl.col("symbol").list.len() > 0)
    rows = piece.with_columns(cells.alias("__cell__")).join(
        table.select(__cell__="cell", __symbol__="symbol"), on="__cell__", how="inner", maintain_order="left"
    )
    rows = rows.explode("__symbol__")
    return rows.drop("__cell__", "__symbol__"), rows["__symbol__"].alias("symbol")


def symbols_in(cell: str, form: TableForm, separator: str | None) -> list[str]:
    """Symbols that a cell names, in capitals, as they are called here."""
    text = cell.strip()
    if re.fullmatch(r"\[.*\]|\(.*\)", text, re.DOTALL):
        parts = text[1:-1].split(",")
    else:
        parts = text.split(MARKS[separator]) if separator else [text]  # type: ignore[index]
    names = (part.strip(" '\"\t\r\n").upper() for part in parts)
    return list(dict.fromkeys(form.our_symbols.get(name, name) for name in names if name))


def spelling_hint(others: Mapping[str, int], wanted: Collection[str], form: TableForm) -> str | None:
    """What to set where the texts of rows that are left out name wanted symbols in another way."""
    for separator in SEPARATORS:
        if any(len(symbols := symbols_in(cell, form, separator)) > 1 and set(symbols) & set(wanted) for cell in others):
            return f"{form.KEY}.symbol_separator={separator}"
    bare = {_bare(symbol): symbol for symbol in wanted}
    names = dict.fromkeys(name for cell in others for name in symbols_in(cell, form, separator=None))
    said = [as_param(f"{form.KEY}.symbols.{ours}", name) for name in names if (ours := _alike(name, bare))]
    return ",".join(said[:EXAMPLES]) or None


def _alike(name: str, bare: Mapping[str, str]) -> str | None:
    """The symbol that a name spells in another way, also with an exchange before or behind it (ACME.US, XNAS:ACME)."""
    before, _, behind = name.rpartition(":")
    spellings = (name, behind, behind.rpartition(".")[0], before)
    return next((bare[spelling] for spelling in map(_bare, spellings) if spelling in bare), None)


def _bare(name: str) -> str:
    """Its letters and digits."""
    return re.sub(r"[\W_]", "", name)


def describe_left_out(tally: Tally, wanted: Collection[str], form: TableForm) -> list[str]:
    """A line on rows about no wanted symbol, with the likely way to have them, and one on tables about none."""
    lines = []
    if tally.left_out:
        examples = ", ".join(f"{cell!r} ({num})" for cell, num in tally.others.most_common(EXAMPLES))
        hint = spelling_hint(tally.others, wanted, form)
        lines.append(
            f"{form.KEY}: {tally.left_out} of {tally.rows} row(s) are left out, for they are about no symbol that has "
            f"prices{': ' if examples else ''}{examples}"
            + (f"; {tally.without} of them name no symbol" if tally.without else "")
            + (f". If that is another spelling of one, set {hint}" if hint else "")
        )
    if tally.tables:
        examples = ", ".join(tally.tables[:EXAMPLES])
        lines.append(
            f"{form.KEY}: {len(tally.tables)} table(s) are left out, for no symbol that has prices: {examples}"
        )
    lines += [
        f"{form.KEY}: {name} of {num} table(s) is not read, for it holds lists or objects"
        for name, num in tally.nested.items()
    ]
    return lines


def refuse_most_left_out(tally: Tally, wanted: Collection[str], form: TableForm, limit: float) -> None:
    """Refuse to go on without most of the rows, or without any table.

    Raises:
        DataError: when more than `limit` of the rows are about no wanted symbol, or no row was read at all.
    """
    if tally.left_out > limit * tally.rows or (tally.tables and not tally.rows and limit < 1):
        lines = " ".join(describe_left_out(tally, wanted, form))
        if tally.tables:
            lines += f". A table's name is its symbol unless {form.KEY}.columns.symbol names a column"
        raise DataError(f"{lines}. If they may be left out, set data.max_left_out=1")


def left_out_facts(tally: Tally) -> dict[str, Any]:
    """Counts for the data report."""
    return {
        "rows": tally.rows,
        "rows_of_other_symbols": tally.others.total(),
        "rows_without_symbol": tally.without,
        "other_symbols": dict(tally.others.most_common(EXAMPLES)),
        "tables_of_other_symbols": len(tally.tables),
    }
