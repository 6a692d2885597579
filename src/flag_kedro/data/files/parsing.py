"""Which column of a table is which of ours, and texts as they came."""

from collections.abc import Mapping, Sequence

import polars as pl

from flag_kedro.data.form import as_param
from flag_kedro.errors import DataError

OTHER_NAMES = {
    "session": ("date", "day", "timestamp", "datetime", "time"),
    "published_at": ("date", "published", "timestamp", "datetime", "time"),
    "symbol": ("ticker", "tickers", "symbols", "stocksymbol"),
    "adj_close": ("adjustedclose", "closeadj"),
    "headline": ("title", "articletitle"),
}
"""What others call our columns; only hints come of it."""


def our_columns(
    mapping: Mapping[str, str],
    table_columns: Sequence[str],
    needed: Sequence[str],
    optional: Sequence[str],
    table_name: str,
    key: str,
) -> dict[str, str]:
    """Which column of a table is which of ours; optional ones that are absent are left out.

    Args:
        mapping: the user's, ours to theirs.
        table_columns: columns of the table.
        needed: ours that must be there.
        optional: ours that may be absent unless the user named them.
        table_name: for messages.
        key: the parameter of the mapping, for messages.

    Raises:
        DataError: when a column is unknown or absent, with the likely one.
    """
    if unknown := sorted(set(mapping) - {*needed, *optional}):
        raise DataError(f"{key}: {', '.join(unknown)} is none of our columns ({', '.join([*needed, *optional])})")
    chosen = {name: mapping.get(name, name) for name in (*needed, *optional)}
    absent = [
        name for name, theirs in chosen.items() if theirs not in table_columns and (name in needed or name in mapping)
    ]
    if "symbol" in optional and chosen["symbol"] not in table_columns and likely_column("symbol", table_columns):
        absent = list(dict.fromkeys([*absent, "symbol"]))  # else the file's name would be the symbol of every row
    if absent:
        lacks = ", ".join(chosen[name] if chosen[name] == name else f"{chosen[name]} ({name})" for name in absent)
        likely = [
            as_param(f"{key}.{name}", theirs) for name in absent if (theirs := likely_column(name, table_columns))
        ]
        hint = f"Say which it is: {','.join(likely)}" if likely else f"Name it by {key}"
        raise DataError(f"{table_name} has no column {lacks}; it has {', '.join(map(repr, table_columns))}. {hint}")
    return {name: theirs for name, theirs in chosen.items() if theirs in table_columns}


def likely_column(name: str, table_columns: Sequence[str]) -> str | None:
    """The column that is probably ours, for a hint."""
    alike = {"".join(filter(str.isalnum, theirs.lower())): theirs for theirs in table_columns}
    names = (name.replace("_", ""), *OTHER_NAMES.get(name, ()))
    return next((alike[other] for other in names if other in alike), None)


def read_texts(raw: pl.Series, table_name: str) -> pl.Series:
    """Texts as they came; an empty one is null.

    Raises:
        DataError: when the column's type holds no texts.
    """
    empty = raw.null_count() == len(raw)  # whatever type a reader made up for it
    if raw.dtype == pl.String or empty or isinstance(raw.dtype, pl.Categorical | pl.Enum):
        texts = pl.repeat(None, len(raw), dtype=pl.String, eager=True) if empty else raw.cast(pl.String)
        return texts.alias(raw.name).set(texts == "", None)
    raise DataError(f"{table_name}: {raw.name} is of type {raw.dtype}, where text belongs")
