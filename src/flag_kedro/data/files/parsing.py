"""Which column of a table is which of ours, and texts as they came."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import polars as pl

from flag_kedro.data.form import as_param
from flag_kedro.errors import DataError

OTHER_NAMES = {
    "session": (
        *("date", "dates", "day", "timestamp", "datetime", "time", "windowstart"),
        *("tradedate", "tradingdate", "datadate", "caldt", "dlycaldt", "index", "indexlevel", "column1"),
    ),
    "published_at": (
        *("date", "published", "timestamp", "datetime", "time", "timepublished", "publishedutc", "timestamputc"),
        *("seendate", "createdat", "createdutc", "pubdate", "dateadded"),
    ),
    "symbol": (
        *("ticker", "tickers", "symbols", "stocksymbol", "tickersymbol"),
        *("tic", "tscode", "stock", "ric", "related", "permno"),
    ),
    "open": ("pxopen",),
    "high": ("pxhigh",),
    "low": ("pxlow",),
    "close": ("price", "last", "closelast", "pxlast", "prc", "dlyprc", "prccd"),
    "volume": ("vol", "pxvolume"),
    "adj_close": ("adjustedclose", "closeadj"),
    "headline": ("title", "articletitle"),
}
"""What others call our columns; only hints come of it. The index of pandas comes as column_1 where it has no name."""


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
        raise DataError(
            f"{table_name} has no column {lacks}; it has {', '.join(map(repr, table_columns))}. "
            + _naming_hint(absent, unread_columns(mapping, table_columns, optional), table_columns, key)
        )
    return {name: theirs for name, theirs in chosen.items() if theirs in table_columns}


def unread_columns(mapping: Mapping[str, str], table_columns: Sequence[str], optional: Sequence[str]) -> dict[str, str]:
    """Columns that are probably ours by another name, ours to theirs, and are not read since nobody said so."""
    absent = [name for name in optional if name not in mapping and name not in table_columns]
    likely = {name: likely_column(name, table_columns) for name in absent}
    return {name: theirs for name, theirs in likely.items() if theirs is not None and theirs not in mapping.values()}


def _naming_hint(absent: Sequence[str], unread: Mapping[str, str], table_columns: Sequence[str], key: str) -> str:
    """How to name the absent columns, and the unread ones with them."""
    likely = {name: likely_column(name, table_columns) for name in absent} | dict(unread)
    said = ",".join(as_param(f"{key}.{name}", theirs) for name, theirs in likely.items() if theirs is not None)
    unknown = " and ".join(f"{key}.{name}" for name, theirs in likely.items() if theirs is None)
    if not said:
        return f"Name the column by {unknown}"
    return f"Say which it is: {said}" + (f"; name the column by {unknown}" if unknown else "")


def likely_column(name: str, table_columns: Sequence[str]) -> str | None:
    """The column that is probably ours, for a hint; numbers before and behind its name do not count ("4. close")."""
    exact = {re.sub(r"[\W_]", "", theirs.lower()): theirs for theirs in reversed(table_columns)}
    if "column2" in exact:  # no column has a name
        exact.pop("column1", None)
    words = Counter(bare.strip("0123456789") for bare in exact)
    alike = {word: theirs for bare, theirs in exact.items() if words[word := bare.strip("0123456789")] == 1} | exact
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
