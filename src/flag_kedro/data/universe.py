"""Membership of the universe by date, so that symbols are chosen without knowledge of what became of them."""

import csv
from datetime import date
from pathlib import Path

import polars as pl

from flag_kedro.data.schema import Schema
from flag_kedro.errors import DataError

UNIVERSE: Schema = {"symbol": pl.String, "first": pl.Date, "last": pl.Date, "delisted": pl.Date}
"""One row for each time a symbol was a member: first and last day, null where it always was or still is; and the last
day on which it traded at all, null while it trades."""


def read_universe(path: str | None) -> pl.DataFrame:
    """The universe of `data.universe`, with the columns of `UNIVERSE`; no row without a file.

    Raises:
        DataError: when the file cannot be read, or listing every row that makes no sense.
    """
    if path is None:
        return pl.DataFrame(schema=UNIVERSE)
    file = Path(path).expanduser()
    table = _read_table(file)
    dates = [pl.col(name).str.strip_chars().replace("", None) for name in ("first", "last", "delisted")]
    texts = table.select(pl.col("symbol").str.strip_chars().str.to_uppercase(), *dates)
    parsed = texts.with_columns(
        pl.col(name).str.to_date("%Y-%m-%d", strict=False) for name in UNIVERSE if name != "symbol"
    )
    problems = _problems(texts, parsed)
    if problems:
        listed = "\n  ".join(problems)
        raise DataError(f"data.universe: {file} has {len(problems)} row(s) that make no sense\n  {listed}")
    return parsed.sort("symbol", "first")


def _read_table(file: Path) -> pl.DataFrame:
    """The file's texts in the columns of `UNIVERSE`; every row has as many fields as the header."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            header, *rows = csv.reader(lines, strict=True)
    except (OSError, ValueError, csv.Error) as error:  # no line at all is a ValueError
        raise DataError(f"data.universe: {file} cannot be read as CSV: {error}") from error
    if sorted(header) != sorted(UNIVERSE):
        raise DataError(
            f"data.universe: {file} has the columns {', '.join(header)}; expected are {', '.join(UNIVERSE)} "
            "(days as 2020-12-31; first, last and delisted may be empty)"
        )
    ragged = [number for number, row in enumerate(rows, start=2) if len(row) != len(header)]
    if ragged:
        raise DataError(
            f"data.universe: {file}, row {ragged[0]} has {len(rows[ragged[0] - 2])} field(s) instead of {len(header)}; "
            "leave fields empty, but keep their commas"
        )
    return pl.DataFrame(rows, schema=dict.fromkeys(header, pl.String), orient="row")


def universe_symbols(universe: pl.DataFrame) -> tuple[str, ...]:
    """Every symbol that ever was a member, in alphabetical order."""
    return tuple(universe["symbol"].unique().sort())


def membership(sessions: pl.DataFrame, universe: pl.DataFrame) -> pl.Series:
    """Whether a symbol was a member on each session; every symbol always is where there is no universe.

    Args:
        sessions: `symbol` and `session`.
        universe: columns of `UNIVERSE`.
    """
    if universe.is_empty():
        return pl.repeat(True, sessions.height, dtype=pl.Boolean, eager=True).alias("member")
    keyed = sessions.select("symbol", "session").with_row_index("row")
    inside = (pl.col("first").is_null() | (pl.col("session") >= pl.col("first"))) & (
        pl.col("last").is_null() | (pl.col("session") <= pl.col("last"))
    )
    members = keyed.join(universe, on="symbol").filter(inside).select("row").unique()
    return keyed["row"].is_in(members["row"].implode()).alias("member")


def with_membership(states: pl.DataFrame, universe: pl.DataFrame | None) -> pl.DataFrame:
    """Market states with `member` (bool) and `delisted` (the symbol's day, or null), where there is a universe."""
    if universe is None or universe.is_empty():
        return states
    ends = universe.group_by("symbol").agg(pl.col("delisted").max())
    with_member = states.with_columns(membership(states, universe))
    return with_member.join(ends, on="symbol", how="left", maintain_order="left")


def survivorship_warning(
    symbols: tuple[str, ...] | None, universe: pl.DataFrame, chosen_on: date | None, window_first: date
) -> str | None:
    """A warning when symbols were chosen with knowledge of what became of them in a window; None when they were not.

    Args:
        symbols: those that a user named, None for all of the universe.
        universe: columns of `UNIVERSE`, no row without one.
        chosen_on: day on which they were chosen, if known.
        window_first: first day of the window on which strategies are evaluated.
    """
    if symbols is None and not universe.is_empty():
        if universe.select(pl.all_horizontal(pl.col("last", "delisted").is_null()).all()).item():
            return "nobody ever left the universe or was delisted: it lists survivors"
        return None
    if chosen_on is None:
        return (
            f"symbols were chosen with knowledge of what became of them after {window_first}; say when they were "
            "chosen (data.chosen_on), or let a membership file choose (data.universe)"
        )
    if chosen_on > window_first:
        return f"symbols were chosen on {chosen_on}, after the window began on {window_first}: they are its survivors"
    return None


def _problems(texts: pl.DataFrame, parsed: pl.DataFrame) -> list[str]:
    """One line for each row that cannot be."""
    lines = []
    pairs = zip(texts.iter_rows(named=True), parsed.iter_rows(named=True), strict=True)
    for number, (text, row) in enumerate(pairs, start=2):
        line_name = f"line {number}, {text['symbol'] or 'no symbol'}"
        wrong = [name for name in ("first", "last", "delisted") if text[name] is not None and row[name] is None]
        lines += [f"{line_name}: {name} is {text[name]!r}, expected a day such as 2020-12-31" for name in wrong]
        if not text["symbol"]:
            lines.append(f"line {number}: no symbol")
        if row["first"] and row["last"] and row["first"] > row["last"]:
            lines.append(f"{line_name}: first {row['first']} lies after last {row['last']}")
        if row["last"] and row["delisted"] and row["last"] > row["delisted"]:
            lines.append(f"{line_name}: a member until {row['last']}, though delisted on {row['delisted']}")
    ordered = parsed.sort("symbol", "first", nulls_last=False)
    same = pl.col("symbol") == pl.col("symbol").shift(1)
    before = pl.col("last").shift(1)
    again = same & (before.is_null() | pl.col("first").is_null() | (pl.col("first") <= before))
    lines += [
        f"{symbol}: two memberships overlap" for symbol in ordered.filter(again)["symbol"].unique(maintain_order=True)
    ]
    several = parsed.group_by("symbol", maintain_order=True).agg(pl.col("delisted").drop_nulls().n_unique())
    lines += [f"{symbol}: two days of delisting" for symbol in several.filter(pl.col("delisted") > 1)["symbol"]]
    return lines
