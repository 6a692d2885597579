"""Sessions of price rows: a date, or a stamp that is held against the session's open and close."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import polars as pl

from flag_kedro.data.calendar import exchange_sessions, exchange_zone
from flag_kedro.data.files.config import FilesConfig
from flag_kedro.data.files.problems import Problem, broken_values, unreadable_values
from flag_kedro.data.files.times import read_times, time_hint, zone_in_name

CalendarOf = Callable[[str], str]
"""Exchange calendar of a symbol."""
ONE_DAY = timedelta(days=1)


def read_sessions(
    raw: pl.Series, rows: pl.Series, symbols: pl.Series, files: FilesConfig, calendar_of: CalendarOf, table_name: str
) -> tuple[pl.Series, list[Problem]]:
    """Sessions of the rows of a table, null where a problem is listed.

    A stamp is a time with zone. It is the session that it opens or closes (also at the usual hour of a day with another
    one), or whose date begins with it at the exchange; where sessions touch (24/7) it is the one that it opens.

    Args:
        raw: the column of dates or times.
        rows: their numbers.
        symbols: of the rows.
        files: parameters.
        calendar_of: exchange calendar of a symbol.
        table_name: for messages.

    Raises:
        DataError: when the column's type holds no times, or a calendar does not reach so far.
        ParameterError: when exchange_calendars does not know a calendar.
    """
    times = read_times(raw, table_name, files).with_columns(symbol=symbols)
    problems = broken_values(table_name, raw, rows, raw.is_null(), f"has no {raw.name}")
    problems += unreadable_values(
        table_name,
        raw,
        rows,
        times["wall"],
        lambda values: f"where a session's date belongs, such as 2024-01-31; {time_hint(values, files)}",
    )
    midnight = pl.col("wall") == pl.col("wall").dt.truncate("1d")
    naive = times.select((~midnight & pl.col("instant").is_null()).fill_null(False)).to_series()
    if files.timezone is not None:
        local = pl.col("wall").dt.replace_time_zone(files.timezone, ambiguous="latest", non_existent="null")
        times = times.with_columns(instant=pl.when(naive).then(local.dt.convert_time_zone("UTC")).otherwise("instant"))
    elif naive.any():
        zone = zone_in_name(raw.name) or exchange_zone(calendar_of(str(symbols.filter(naive)[0])))
        rule = f"a time without its zone; say which it is: files.timezone={zone}"
        problems += broken_values(table_name, raw, rows, naive, rule, single=False)
    sessions = times.select(pl.when(pl.col("instant").is_null() & midnight).then(pl.col("wall").dt.date())).to_series()
    stamped = times["instant"].is_not_null() & symbols.is_not_null()
    if stamped.any():
        found = _of_stamps(times.with_row_index("place").filter(stamped), files, calendar_of)
        sessions = sessions.scatter(found["place"], found["session"])
        problems += _off_session(raw, rows, found, table_name)
    return sessions.alias("session"), problems


def _of_stamps(stamps: pl.DataFrame, files: FilesConfig, calendar_of: CalendarOf) -> pl.DataFrame:
    """Of each stamp `place`, `symbol`, `local` time, `calendar`, `instant`, `session` (or null) and `date_like`."""
    calendars = {symbol: calendar_of(symbol) for symbol in stamps["symbol"].unique(maintain_order=True)}
    parts = []
    for calendar in dict.fromkeys(calendars.values()):
        symbols = [symbol for symbol in calendars if calendars[symbol] == calendar]
        parts.append(_on_calendar(stamps.filter(pl.col("symbol").is_in(symbols)), files, calendar))
    return pl.concat(parts)


def _on_calendar(stamps: pl.DataFrame, files: FilesConfig, calendar: str) -> pl.DataFrame:
    zone = exchange_zone(calendar)
    local = pl.col("instant").dt.convert_time_zone(zone).dt.replace_time_zone(None)
    stamps = stamps.with_columns(local=local, day=pl.col("wall").dt.date(), calendar=pl.lit(calendar))
    days = stamps.select(first=pl.min_horizontal("local", "wall").min(), last=pl.max_horizontal("local", "wall").max())
    first, last = (moment.date() for moment in days.row(0))
    sessions = exchange_sessions(calendar, first - ONE_DAY, last + ONE_DAY)
    found = stamps.join(
        sessions.select("opens_at", opened="session"),
        left_on="instant",
        right_on="opens_at",
        how="left",
        maintain_order="left",
    ).join(
        sessions.select("closes_at", closed="session"),
        left_on="instant",
        right_on="closes_at",
        how="left",
        maintain_order="left",
    )
    at_usual_hour = pl.col("local").dt.time().is_in(_usual_hours(sessions, zone)) & pl.col("local").dt.date().is_in(
        sessions["session"].implode()
    )
    is_midnight = pl.col("local") == pl.col("local").dt.truncate("1d")
    session = pl.coalesce("opened", "closed", pl.when(at_usual_hour | is_midnight).then(pl.col("local").dt.date()))
    date_like = (pl.col("wall") == pl.col("wall").dt.truncate("1d")) & _may_be_date(sessions)
    if files.stamps == "date":
        session = pl.when(date_like).then("day").otherwise(session)
    return found.select("place", "symbol", "local", "calendar", "instant", session=session, date_like=date_like)


def _usual_hours(sessions: pl.DataFrame, zone: str) -> list[object]:
    """When sessions mostly open and close, where the exchange is."""
    local = sessions.select(pl.col("opens_at", "closes_at").dt.convert_time_zone(zone).dt.time())
    return [local[name].mode().sort()[0] for name in local.columns] if local.height else []


def _may_be_date(sessions: pl.DataFrame) -> pl.Expr:
    """Whether a bar that begins at a midnight ends with the session of its date.

    Where sessions touch, one that begins behind the session's open lasts beyond its close, and would be known early.
    """
    touches = sessions.filter(pl.col("opens_at") == pl.col("closes_at").shift(1)).height > 0
    opens = pl.col("day").replace_strict(sessions["session"], sessions["opens_at"], default=None)
    return pl.col("instant") <= opens if touches else pl.lit(True)


def _off_session(raw: pl.Series, rows: pl.Series, found: pl.DataFrame, table_name: str) -> list[Problem]:
    """The stamps that are no session, as one problem for each reason."""
    several = pl.struct("symbol", pl.col("local").dt.date()).is_duplicated()
    off = found.with_columns(several=several).filter(pl.col("session").is_null())
    reasons = {
        "one of several bars of a day, where one row a session belongs; bring daily bars": pl.col("several"),
        "midnight": ~pl.col("several") & pl.col("date_like"),
        "": ~pl.col("several") & ~pl.col("date_like"),
    }
    problems = []
    for reason, is_reason in reasons.items():
        one = off.filter(is_reason)
        if one.height:
            broken = pl.Series(range(len(raw)), dtype=pl.UInt32).is_in(one["place"].implode())
            stamp = one.row(0, named=True)
            said = {"": _not_the_session, "midnight": _of_another_zone}
            rule = said[reason](stamp) if reason in said else reason
            problems += broken_values(table_name, raw, rows, broken, rule, single=False)
    return problems


def _of_another_zone(stamp: dict[str, Any]) -> str:
    return (
        f"midnight in another zone than that of {stamp['calendar']}; if these stamps are dates, set files.stamps=date; "
        f"if {stamp['symbol']} is traded round the clock, set data.calendar.{stamp['symbol']}=24/7"
    )


def _not_the_session(stamp: dict[str, Any]) -> str:
    calendar, day = stamp["calendar"], stamp["local"].date()
    sessions = exchange_sessions(calendar, day - 7 * ONE_DAY, day + 7 * ONE_DAY)
    nearest = sessions.filter(pl.col("closes_at") > stamp["instant"]).row(0, named=True)
    hours = " to ".join(nearest[name].strftime("%Y-%m-%d %H:%M UTC") for name in ("opens_at", "closes_at"))
    return (
        f"neither open nor close of a session of {calendar} ({nearest['session']}: {hours}); such a bar is not the "
        "session, and its price would count as known at another time than it was. Bring bars of whole sessions"
    )
