"""Values of a user's table that cannot be read, as messages or as quarantined rows."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from flag_kedro.data.files.delimited import ROW, Ragged
from flag_kedro.data.validation import REJECTED

LOOKED_AT = 1000
"""Values from which a hint is drawn."""


@dataclass(frozen=True)
class Problem:
    """Values of one column that break one rule."""

    table_name: str
    raw: pl.Series
    """The values as they came, one at least."""
    rows: pl.Series
    """Their rows, as `ROW` counts."""
    rule: str
    """What they break, and the way out."""
    single: bool = True
    """Whether single rows are to blame, which can be left out, and not how the whole column is read."""

    def __str__(self) -> str:
        """One line: the first value, its row, and how many there are."""
        more = f" (and {len(self.raw) - 1} more)" if len(self.raw) > 1 else ""
        if self.raw[0] is None:
            return f"{self.table_name} row {self.rows[0]}{more} {self.rule}"
        return f"{self.table_name} row {self.rows[0]}{more}: {self.raw.name} is {str(self.raw[0])[:80]!r}, {self.rule}"


def unreadable_values(
    table_name: str, raw: pl.Series, rows: pl.Series, parsed: pl.Series, rule: Callable[[pl.Series], str]
) -> list[Problem]:
    """The values of a column that are there but came out null, if any; `rule` says why, from those that are there."""
    broken = raw.is_not_null() & parsed.is_null()
    return broken_values(table_name, raw, rows, broken, rule(raw.drop_nulls().head(LOOKED_AT))) if broken.any() else []


def broken_values(
    table_name: str, raw: pl.Series, rows: pl.Series, broken: pl.Series, rule: str, *, single: bool = True
) -> list[Problem]:
    """The values of a column where `broken` holds, if any."""
    values = raw.filter(broken)
    return [] if values.is_empty() else [Problem(table_name, values, rows.filter(broken), rule, single)]


def quarantine_rows(
    name: str, parsed: pl.DataFrame, piece: pl.DataFrame, at: str, problems: Sequence[Problem], *, quarantine: bool
) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    """Leave out the rows that have a problem, with `quarantine`.

    Args:
        name: `prices` or `news`, for the table of what was left out.
        parsed: rows in our columns, with `symbol`.
        piece: the same rows as they came, with `ROW`.
        at: the column of `piece` that says when.
        problems: of these rows.
        quarantine: whether rows may be left out.

    Returns:
        The rows of `parsed` that stay; the others in the columns of `validation.REJECTED`, one row a problem; and
        messages of the problems that remain.
    """
    remaining = [str(problem) for problem in problems if not (quarantine and problem.single)]
    broken = [problem for problem in problems if quarantine and problem.single]
    if not broken:
        return parsed, pl.DataFrame(schema=REJECTED), remaining
    as_read = [pl.lit(broken[0].table_name).alias("__table__"), pl.all().cast(pl.String)]
    keys = [pl.col(ROW).cast(pl.UInt32).alias("row"), pl.col(at).cast(pl.String).alias("at")]
    records = piece.select(*keys, parsed["symbol"], pl.struct(as_read).struct.json_encode().alias("record"))
    parts = []
    for problem in broken:
        values = {"row": problem.rows.cast(pl.UInt32), "value": problem.raw.cast(pl.String).str.slice(0, 60)}
        labels = {"table": name, "column": problem.raw.name, "rule": problem.rule}
        labelled = pl.DataFrame(values).unique("row", maintain_order=True)  # a row may tell of several symbols
        labelled = labelled.with_columns(pl.lit(word).alias(key) for key, word in labels.items())
        parts.append(labelled.join(records, on="row", how="left", maintain_order="left").select(list(REJECTED)))
    rejected = pl.concat(parts).cast(REJECTED)  # type: ignore[arg-type]
    return parsed.filter(~records["row"].is_in(rejected["row"].implode())), rejected, remaining


def ragged_rows(name: str, path: Path, ragged: Sequence[Ragged]) -> pl.DataFrame:
    """Rows with too few or too many fields, in the columns of `validation.REJECTED`.

    Args:
        name: `prices` or `news`.
        path: their file.
        ragged: the rows.
    """
    rows = [
        {"table": name, "row": one.row, "value": one.text[:60], "rule": one.rule, "record": _record(path, one)}
        for one in ragged
    ]
    return pl.DataFrame(rows, schema=REJECTED)


def _record(path: Path, one: Ragged) -> str:
    return json.dumps({"__table__": str(path), "__line__": one.text})
