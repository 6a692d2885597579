"""Values of a user's table that cannot be read: in words, or as rows that are left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from flag_kedro.data.files.tables import ROW
from flag_kedro.data.validation import REJECTED


@dataclass(frozen=True)
class Problem:
    """Values of one column that break one rule."""

    place: str
    """The table."""
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
            return f"{self.place} row {self.rows[0]}{more} {self.rule}"
        return f"{self.place} row {self.rows[0]}{more}: {self.raw.name} is {str(self.raw[0])[:80]!r}, {self.rule}"


def unreadable(place: Path | str, raw: pl.Series, rows: pl.Series, parsed: pl.Series, rule: str) -> list[Problem]:
    """The values of a column that are there but came out null, if any."""
    return listed(place, raw, rows, raw.is_not_null() & parsed.is_null(), rule)


def listed(
    place: Path | str, raw: pl.Series, rows: pl.Series, broken: pl.Series, rule: str, *, single: bool = True
) -> list[Problem]:
    """The values of a column where `broken` holds, if any."""
    found = raw.filter(broken)
    return [] if found.is_empty() else [Problem(str(place), found, rows.filter(broken), rule, single)]


def let_go(
    name: str, parsed: pl.DataFrame, piece: pl.DataFrame, at: str, problems: Sequence[Problem], *, quarantine: bool
) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    """Leave out the rows that have a problem, if that was asked for.

    Args:
        name: `prices` or `news`, for the table of what was left out.
        parsed: rows in our columns, with `symbol`.
        piece: the same rows as they came, with `ROW`.
        at: the column of `piece` that says when.
        problems: of these rows.
        quarantine: whether rows may be left out.

    Returns:
        The rows of `parsed` that stay; the others in the columns of `door.REJECTED`, one row a problem; and in words
        the problems that remain.
    """
    remaining = [str(problem) for problem in problems if not (quarantine and problem.single)]
    broken = [problem for problem in problems if quarantine and problem.single]
    if not broken:
        return parsed, pl.DataFrame(schema=REJECTED), remaining
    came = [pl.lit(broken[0].place).alias("__table__"), pl.all().cast(pl.String)]
    keys = [pl.col(ROW).cast(pl.UInt32).alias("row"), pl.col(at).cast(pl.String).alias("at")]
    records = piece.select(*keys, parsed["symbol"], pl.struct(came).struct.json_encode().alias("record"))
    parts = []
    for problem in broken:
        values = {"row": problem.rows.cast(pl.UInt32), "value": problem.raw.cast(pl.String).str.slice(0, 60)}
        said = {"table": name, "column": problem.raw.name, "rule": problem.rule}
        named = pl.DataFrame(values).with_columns(pl.lit(word).alias(key) for key, word in said.items())
        parts.append(named.join(records, on="row", how="left", maintain_order="left").select(list(REJECTED)))
    rejected = pl.concat(parts).cast(REJECTED)  # type: ignore[arg-type]
    return parsed.filter(~records["row"].is_in(rejected["row"].implode())), rejected, remaining
