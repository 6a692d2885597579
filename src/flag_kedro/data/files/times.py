"""Dates and times from raw columns; what cannot be read is null, never guessed."""

import re
from datetime import datetime

import polars as pl

from flag_kedro.data.form import EPOCHS, TableForm, as_param, without_zone
from flag_kedro.data.schema import UTC
from flag_kedro.errors import DataError, ParameterError

YEARS = (1950, 2100)
"""First year of a plausible date, and the one after the last."""
WALL = pl.Datetime("us")
ZONE = r"(Z|UTC|GMT|([+-])(\d{2}):?(\d{2})?)"
TIME = (
    r"(?i)^(\d{4})([-/.]?)(\d{2})[-/.]?(\d{2})"
    r"(?:[T ](\d{2}):?(\d{2})(?::?(\d{2})(?:\.(\d{1,9}))?)?\s*" + ZONE + r"?)?$"
)
"""ISO 8601 with the year first, a blank for the T, without dashes and colons (20240131T160500Z), and the zone also as
UTC or GMT."""
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
DIGITS = {10: "s", 13: "ms", 16: "us", 19: "ns"}
"""Unit of a count since 1970 by its number of digits, from 2001 to 2286."""
FORMATS = (
    *("%m/%d/%Y", "%d/%m/%Y", "%m-%d-%Y", "%d-%m-%Y", "%d.%m.%Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y"),
    *("%b %d %Y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%Y/%m/%d %H:%M:%S", "%Y%m%d %H:%M:%S"),
    *("%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %I:%M %p"),
    *("%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%b %d %Y %I:%M %p", "%a %d %b %Y %H:%M:%S %z", "%a %b %d %Y"),
    "%a %d %b %Y %H:%M:%S",
    "%Y%m%d%H%M%S",
)
"""Formats that tools write, for hints."""


def read_times(raw: pl.Series, table_name: str, form: TableForm) -> pl.DataFrame:
    """Dates and times as they are written.

    Returns:
        `wall` (the date and time as written, without zone), `timed` (whether a time of day is written) and `instant`
        (UTC, null where no zone is written); all null where the raw value is null or cannot be read.

    Raises:
        DataError: when the column's type holds no times.
    """
    times = raw.alias("raw").to_frame()
    if form.epoch is not None and (raw.dtype == pl.String or raw.dtype.is_numeric()):
        times = _counted_times(times, EPOCHS[form.epoch])
    elif raw.dtype == pl.String:
        times = _written_times(times) if form.date_format is None else _formatted_times(times, form.date_format)
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
        hint = f"; if it counts since 1970, set {_epoch(raw, form)}" if raw.dtype.is_integer() else ""
        raise DataError(f"{table_name}: {raw.name} is of type {raw.dtype}, where dates or times belong{hint}")
    in_range = pl.col("wall").dt.year().is_between(*YEARS, closed="left")
    return times.select(pl.when(in_range).then(pl.col(name)).alias(name) for name in ("wall", "timed", "instant"))


def check_zone(timezone: str | None, key: str) -> None:
    """Refuse a time zone that is not in the IANA database.

    Raises:
        ParameterError: naming it.
    """
    if timezone is None:
        return
    exists = timezone != ""  # which polars takes for no zone
    try:
        pl.Series([datetime(2020, 1, 1)]).dt.replace_time_zone(timezone)
    except pl.exceptions.PolarsError:
        exists = False
    if not exists:
        raise ParameterError(
            f"{key}.timezone: no time zone {timezone!r}; use an IANA name such as America/New_York or UTC"
        )


def zone_in_name(column: str) -> str | None:
    """The zone that a column's name says its times are in: UTC, or none."""
    return "UTC" if re.search(r"(?i)(?:^|[^a-z])(?:utc|gmt)(?:$|[^a-z])", column.replace("_", " ")) else None


def time_hint(values: pl.Series, form: TableForm) -> str:
    """What to set so that most values of a column are read, in every way that is possible.

    Args:
        values: those that are not null, of which one at least cannot be read.
        form: how they are read now.
    """
    if zone := next((name for text in values.cast(pl.String) if (name := _zone_by_name(text))), None):
        return (
            f"{zone} at its end is no offset: write it as one (-0500), or leave it out of the column and say by "
            f"{form.KEY}.timezone where that is (such as America/New_York)"
        )
    if form.epoch is not None or form.date_format is not None:
        if form.epoch is not None and (other := _other_unit(values, form.epoch)):
            return (
                f"which counts in {other}, not in {form.epoch}: set {form.KEY}.epoch={other}; where files or rows "
                "differ in it, write all in one unit (docs/data.md)"
            )
        given = f"epoch={form.epoch}" if form.epoch else f"date_format={form.date_format}"
        return f"as {form.KEY}.{given} says; correct it, or set what is right"
    first = re.sub(r"\.\d*$", "", str(values[0]).strip())
    if first.isdigit() and (unit := DIGITS.get(len(first))):
        return f"if it counts since 1970, set {form.KEY}.epoch={unit}"
    if first.isdigit() and len(first) == len("45322"):
        return "if it is how a spreadsheet counts days, format its column as dates (yyyy-mm-dd) and save it again"
    counts = {how: _num_read(values, how) for how in FORMATS}
    most = max(counts.values())
    likely = [how for how, count in counts.items() if count == most and 2 * count > len(values)]
    if not likely:
        return f"correct it, or say by {form.KEY}.date_format how all are written, in the codes of strptime"
    said = " or ".join(as_param(f"{form.KEY}.date_format", how) for how in likely)
    return "say how it is written: " + said + (", whichever is right" if len(likely) > 1 else "")


def _zone_by_name(text: str) -> str | None:
    """The letters behind a time of day that may stand for a zone, such as EST."""
    found = re.search(r":\d\d(?: ?[AaPp][Mm])? ?([A-Z]{2,5})$", text.strip())
    return found[1] if found and found[1] not in ("AM", "PM", "UTC", "GMT") else None


def _other_unit(values: pl.Series, epoch: str) -> str | None:
    """Another unit in which some of the values count since 1970, by their number of digits."""
    texts = values.cast(pl.String).str.strip_chars()
    units = (DIGITS.get(len(text)) for text in texts if text.isdigit())
    return next((unit for unit in units if unit not in (None, epoch)), None)


def _num_read(values: pl.Series, date_format: str) -> int:
    times = read_times(values.cast(pl.String), "", TableForm(date_format=date_format))
    return times.height - times["wall"].null_count()


def _epoch(raw: pl.Series, form: TableForm) -> str:
    first = raw.drop_nulls()
    unit = DIGITS.get(len(str(first[0])), "s") if len(first) else "s"
    return f"{form.KEY}.epoch={unit}"


def _written_times(times: pl.DataFrame) -> pl.DataFrame:
    parts = pl.col("raw").str.strip_chars().str.extract_groups(TIME)
    table = times.select(parts.struct.rename_fields(list(GROUPS)).alias("parts")).unnest("parts")
    clock = [pl.col(name).cast(pl.Int64).fill_null(0) for name in ("hour", "minute", "second")]
    sound = (clock[0] < 24) & (clock[1] < 60) & (clock[2] < 60)
    day = pl.concat_str("year", "month", "day", separator="-").str.to_date("%Y-%m-%d", strict=False)
    micros = pl.col("fraction").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64).fill_null(0)
    since = pl.duration(hours=clock[0], minutes=clock[1], seconds=clock[2], microseconds=micros, time_unit="us")
    return _with_zones(
        table.with_columns(wall=pl.when(sound).then(day.cast(WALL) + since), timed=pl.col("hour").is_not_null())
    )


def _formatted_times(times: pl.DataFrame, date_format: str) -> pl.DataFrame:
    """Times in a format of strptime; a zone at the end as `ZONE`, where the format has %z."""
    zoned, bare = date_format.replace(",", "").strip().endswith("%z"), without_zone(date_format)
    text = pl.col("raw").str.replace_all(",", "", literal=True).str.strip_chars()
    zone = text.str.extract_groups(rf"(?i)\s*{ZONE}$").struct.rename_fields(["zone", "sign", "ahead", "ahead_minutes"])
    table = times.select(text.alias("text"), zone.alias("parts")).unnest("parts")
    if not zoned:
        table = table.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in ("zone", "sign", "ahead"))
    front = pl.col("text").str.replace(rf"(?i)\s*{ZONE}$", "") if zoned else pl.col("text")
    wall = front.str.to_datetime(bare, strict=False, time_unit="us")
    if zoned:
        wall = pl.when(pl.col("zone").is_not_null()).then(wall)
    return _with_zones(table.with_columns(wall=wall, timed=any(code in bare for code in ("%H", "%I", "%T", "%R"))))


def _with_zones(table: pl.DataFrame) -> pl.DataFrame:
    """`wall`, `timed` and `instant` from `wall`, `timed` and the parts of a written zone."""
    ahead = pl.col("ahead").cast(pl.Int64).fill_null(0) * 60 + pl.col("ahead_minutes").cast(pl.Int64).fill_null(0)
    behind = pl.when(pl.col("sign") == "-").then(ahead).otherwise(-ahead)
    sound = pl.when(ahead < 24 * 60).then(pl.col("wall"))
    return table.with_columns(wall=sound).select(
        "wall",
        timed=pl.when(pl.col("wall").is_not_null()).then("timed"),
        instant=pl.when(pl.col("zone").is_not_null()).then(
            (pl.col("wall") + pl.duration(minutes=behind, time_unit="us")).dt.replace_time_zone("UTC")
        ),
    )


def _counted_times(times: pl.DataFrame, per_second: int) -> pl.DataFrame:
    """Times from counts of a unit since 1970; of one in a greater unit than that all would lie in that year."""
    raw, micros = pl.col("raw"), pl.lit(0)
    if times.schema["raw"] == pl.String:
        fractions = r"^(\d+)\.\d*$" if per_second == 1 else r"^(\d+)\.0*$"
        micros = raw.str.extract(r"\.(\d+)\s*$").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64).fill_null(0)
        raw = raw.str.strip_chars().str.replace(fractions, "${1}")
    count = raw.cast(pl.Int64, strict=False)
    seconds = count.abs() // per_second
    plausible = (seconds > 366 * 86_400) & (seconds < (YEARS[1] - 1970) * 366 * 86_400)
    whole, parts = max(1, 1_000_000 // per_second), max(1, per_second // 1_000_000)
    wall = (pl.when(plausible).then(count) * whole // parts + micros).cast(WALL)
    return times.select(
        wall=wall,
        timed=pl.when(wall.is_not_null()).then(True),
        instant=wall.dt.replace_time_zone("UTC"),
    )
