"""Numbers, dates and times from raw columns; what cannot be read is null, never guessed."""

from collections.abc import Mapping, Sequence

import polars as pl

from flag_kedro.data.schema import UTC
from flag_kedro.errors import DataError

OTHER_NAMES = {
    "session": ("date", "day", "timestamp", "datetime", "time"),
    "published_at": ("date", "published", "timestamp", "datetime", "time"),
    "symbol": ("ticker", "stocksymbol"),
    "adj_close": ("adjustedclose", "closeadj"),
    "headline": ("title", "articletitle"),
}
"""What others call our columns; only hints come of it."""
YEARS = (1950, 2100)
"""First year of a plausible date, and the one after the last."""
WALL = pl.Datetime("us")
TIME = (
    r"(?i)^(\d{4})([-/]?)(\d{2})[-/]?(\d{2})"
    r"(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?\s*(Z|UTC|GMT|([+-])(\d{2}):?(\d{2})?)?)?$"
)
"""ISO 8601 with the year first, a blank for the T, and the zone also as UTC or GMT."""
GROUPS = (
    "year",
    "dash",
    "month",
    "day",
    "hour",
    "minute",
    "second",
    "fraction",
    "zone",
    "sign",
    "ahead",
    "ahead_minutes",
)


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
    if absent:
        lacks = ", ".join(chosen[name] if chosen[name] == name else f"{chosen[name]} ({name})" for name in absent)
        likely = [f"{name}={theirs}" for name in absent if (theirs := _likely(name, table_columns))]
        hint = ",".join(f"{key}.{pair}" for pair in likely) or f"{key}.{absent[0]}=THEIR_NAME"
        raise DataError(
            f"{table_name} has no column {lacks}; it has {', '.join(map(repr, table_columns))}. Say which it is: {hint}"
        )
    return {name: theirs for name, theirs in chosen.items() if theirs in table_columns}


def _likely(name: str, table_columns: Sequence[str]) -> str | None:
    """The column that is probably ours, for a hint."""
    alike = {"".join(filter(str.isalnum, theirs.lower())): theirs for theirs in table_columns}
    names = (name.replace("_", ""), *OTHER_NAMES.get(name, ()))
    return next((alike[other] for other in names if other in alike), None)


def read_numbers(raw: pl.Series, table_name: str) -> pl.Series:
    """Floats; null where the raw value is null or, in text, no number.

    Raises:
        DataError: when the column's type holds no numbers.
    """
    if raw.dtype == pl.String:
        return raw.str.strip_chars().cast(pl.Float64, strict=False)
    if raw.dtype.is_numeric() or raw.dtype == pl.Null:
        return raw.cast(pl.Float64, strict=False)
    raise DataError(f"{table_name}: {raw.name} is of type {raw.dtype}, where numbers belong")


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


def read_times(raw: pl.Series, table_name: str) -> pl.DataFrame:
    """Dates and times as they are written.

    Returns:
        `wall` (the date and time as written, without zone), `timed` (whether a time of day is written) and `instant`
        (UTC, null where no zone is written); all null where the raw value is null or cannot be read.

    Raises:
        DataError: when the column's type holds no times.
    """
    times = raw.alias("raw").to_frame()
    if raw.dtype == pl.String:
        times = _written_times(times)
    elif raw.dtype == pl.Date or raw.dtype == pl.Null:
        times = times.select(
            wall=pl.col("raw").cast(pl.Date).cast(WALL),
            timed=pl.when(pl.col("raw").is_not_null()).then(False),
            instant=pl.lit(None, dtype=UTC),
        )
    elif isinstance(raw.dtype, pl.Datetime):
        zoned = pl.col("raw").dt.cast_time_unit("us")
        instant = pl.lit(None, dtype=UTC) if raw.dtype.time_zone is None else zoned.dt.convert_time_zone("UTC")
        times = times.select(
            wall=zoned.dt.replace_time_zone(None),
            timed=pl.when(pl.col("raw").is_not_null()).then(True),
            instant=instant,
        )
    else:
        raise DataError(f"{table_name}: {raw.name} is of type {raw.dtype}, where dates or times belong")
    in_range = pl.col("wall").dt.year().is_between(*YEARS, closed="left")
    return times.select(pl.when(in_range).then(pl.col(name)).alias(name) for name in ("wall", "timed", "instant"))


def _written_times(times: pl.DataFrame) -> pl.DataFrame:
    parts = pl.col("raw").str.strip_chars().str.extract_groups(TIME)
    table = times.select(parts.struct.rename_fields(list(GROUPS)).alias("parts")).unnest("parts")
    clock = [pl.col(name).cast(pl.Int64).fill_null(0) for name in ("hour", "minute", "second")]
    ahead = pl.col("ahead").cast(pl.Int64).fill_null(0) * 60 + pl.col("ahead_minutes").cast(pl.Int64).fill_null(0)
    sound = (clock[0] < 24) & (clock[1] < 60) & (clock[2] < 60) & (ahead < 24 * 60)
    day = pl.concat_str("year", "month", "day", separator="-").str.to_date("%Y-%m-%d", strict=False)
    micros = pl.col("fraction").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64).fill_null(0)
    since = pl.duration(hours=clock[0], minutes=clock[1], seconds=clock[2], microseconds=micros, time_unit="us")
    behind = pl.when(pl.col("sign") == "-").then(ahead).otherwise(-ahead)
    wall = pl.when(sound).then(day.cast(WALL) + since)
    return table.select(
        wall=wall,
        timed=pl.when(wall.is_not_null()).then(pl.col("hour").is_not_null()),
        instant=pl.when(pl.col("zone").is_not_null()).then(
            (wall + pl.duration(minutes=behind, time_unit="us")).dt.replace_time_zone("UTC")
        ),
    )
