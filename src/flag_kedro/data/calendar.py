"""Exchange sessions with their opens and closes in UTC."""

from collections.abc import Sequence
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import polars as pl

from flag_kedro.data.schema import UTC, Schema
from flag_kedro.errors import DataError, ParameterError

if TYPE_CHECKING:  # both take long to import, and most commands need neither
    import exchange_calendars
    import pandas as pd

MARGIN = timedelta(days=14)
"""Longer than any closure of an exchange, so that a next session is always inside."""


def unknown_calendar(calendar: str) -> ParameterError:
    """The error for a name that exchange_calendars does not know."""
    return ParameterError(
        f"data.calendar: exchange_calendars knows no calendar {calendar!r}; "
        "use an exchange's code such as XNYS, or 24/7 for crypto"
    )


def with_extra_sessions(calendar: str, days: Sequence[date]) -> str:
    """The name of `calendar` with further sessions: XNYS+2020-10-03."""
    return "+".join([calendar, *(day.isoformat() for day in sorted(days))])


def regular_calendar(calendar: str) -> str:
    """The name without further sessions."""
    return calendar.partition("+")[0]


@lru_cache(maxsize=64)
def exchange_sessions(calendar: str, first: date, last: date) -> pl.DataFrame:
    """Sessions of `calendar` from `first` to `last`, both included, early closes respected.

    Args:
        calendar: exchange_calendars name, or one of `with_extra_sessions`; those begin and end when most do.
        first: a date.
        last: a date.

    Returns:
        `session` (date, ascending), `opens_at` and `closes_at` (UTC). For `24/7` a session is a UTC day
        that closes at 24:00.

    Raises:
        ParameterError: when exchange_calendars knows no such calendar, or cannot build it.
        DataError: when the calendar does not reach so far.
    """
    return _with_margin(calendar, first, last).filter(pl.col("session").is_between(first, last))


def _with_margin(calendar: str, first: date, last: date) -> pl.DataFrame:
    """The columns of `exchange_sessions`, with a margin on both sides as far as the calendar is known."""
    sessions = _schedule(regular_calendar(calendar), first, last)
    days = [date.fromisoformat(day) for day in calendar.split("+")[1:]]
    extra = pl.DataFrame({"session": days}, schema={"session": pl.Date}).join(sessions, on="session", how="anti")
    if extra.is_empty():
        return sessions
    return pl.concat([sessions, _at_usual_hours(extra, sessions, exchange_zone(calendar))]).sort("session")


def _schedule(calendar: str, first: date, last: date) -> pl.DataFrame:
    """Sessions of a calendar with a margin on both sides, cut out of whole decades where those are known.

    Calendars take long to build, and who works year by year asks for many spans.
    """
    begin, end = first - MARGIN, last + MARGIN
    decades = _decades(calendar, begin.year // 10 * 10, end.year // 10 * 10 + 9)
    if decades is not None:
        return decades.filter(pl.col("session").is_between(begin, end))
    return _as_table(_exchange(calendar, first, last))


@lru_cache(maxsize=64)
def _decades(calendar: str, first_year: int, last_year: int) -> pl.DataFrame | None:
    """Sessions from the first day of a year to the last of another; None where the calendar is not known so far."""
    import exchange_calendars

    try:
        exchange = exchange_calendars.get_calendar(calendar, start=date(first_year, 1, 1), end=date(last_year, 12, 31))
    except exchange_calendars.errors.InvalidCalendarName as error:
        raise unknown_calendar(calendar) from error
    except (ValueError, NotImplementedError):
        return None
    return _as_table(exchange)


def _as_table(exchange: "exchange_calendars.ExchangeCalendar") -> pl.DataFrame:
    schedule = exchange.schedule
    return pl.DataFrame(
        {
            "session": [stamp.date() for stamp in schedule.index],
            "opens_at": schedule["open"].dt.tz_convert("UTC").dt.to_pydatetime().tolist(),
            "closes_at": schedule["close"].dt.tz_convert("UTC").dt.to_pydatetime().tolist(),
        },
        schema={"session": pl.Date, "opens_at": UTC, "closes_at": UTC},
    )


def _at_usual_hours(extra: pl.DataFrame, sessions: pl.DataFrame, zone: str) -> pl.DataFrame:
    """Days with the open and the close that most sessions have where the exchange is."""
    midnight = pl.col("session").cast(pl.Datetime("us"))
    names = ("opens_at", "closes_at")
    since = sessions.select(
        pl.col(name).dt.convert_time_zone(zone).dt.replace_time_zone(None) - midnight for name in names
    )
    usual = {name: since[name].mode().sort()[0] for name in names}
    return extra.with_columns(
        (midnight + pl.lit(usual[name])).dt.replace_time_zone(zone).dt.convert_time_zone("UTC").alias(name)
        for name in names
    )


def _exchange(calendar: str, first: date, last: date) -> "exchange_calendars.ExchangeCalendar":
    """The calendar from a margin before `first` to one after `last`, as far as it is known."""
    import exchange_calendars
    import pandas as pd

    try:
        return exchange_calendars.get_calendar(calendar, start=first - MARGIN, end=last + MARGIN)
    except exchange_calendars.errors.InvalidCalendarName as error:
        raise unknown_calendar(calendar) from error
    except (ValueError, NotImplementedError) as error:
        earliest, latest = _bounds(calendar, error)
        start = max(pd.Timestamp(first - MARGIN), earliest)
        end = min(pd.Timestamp(last + MARGIN), latest)
        if start > pd.Timestamp(first) or end < pd.Timestamp(last):
            raise DataError(
                f"data.calendar: {calendar} does not reach from {first} to {last}: {error} A newer release of "
                "exchange_calendars may know more; else look for a wrong date in the source, or choose other dates"
            ) from error
        return exchange_calendars.get_calendar(calendar, start=start, end=end)


def _bounds(calendar: str, error: Exception) -> "tuple[pd.Timestamp, pd.Timestamp]":
    """First and last day that exchange_calendars knows of an exchange whose holidays it has for some years only."""
    import exchange_calendars
    import pandas as pd

    try:
        exchange = exchange_calendars.get_calendar(calendar)
    except (ValueError, NotImplementedError):
        raise ParameterError(f"data.calendar: exchange_calendars cannot build {calendar} here: {error}") from error
    return exchange.bound_min() or pd.Timestamp.min.ceil("D"), exchange.bound_max() or pd.Timestamp.max.floor("D")


def sessions_by_symbol(spans: pl.DataFrame) -> pl.DataFrame:
    """Sessions of each symbol's exchange within the symbol's own span; each calendar is built once.

    Args:
        spans: `symbol`, `calendar`, `first` and `last` (dates, both included), one row a symbol.

    Returns:
        `symbol`, `session`, `opens_at`, `closes_at`, ascending in both keys.

    Raises:
        ParameterError: when exchange_calendars knows no such calendar, or cannot build it.
        DataError: when a calendar does not reach so far.
    """
    parts = []
    for (calendar,), symbols_on in spans.group_by("calendar", maintain_order=True):
        first, last = symbols_on["first"].min(), symbols_on["last"].max()
        assert isinstance(first, date)
        assert isinstance(last, date)
        sessions = exchange_sessions(str(calendar), first, last)
        inside = pl.col("session").is_between("first", "last")
        parts.append(symbols_on.join(sessions, how="cross").filter(inside).drop("calendar", "first", "last"))
    schema: Schema = {"symbol": pl.String, "session": pl.Date, "opens_at": UTC, "closes_at": UTC}
    return (pl.concat(parts) if parts else pl.DataFrame(schema=schema)).sort("symbol", "session")


@lru_cache(maxsize=64)
def exchange_zone(calendar: str) -> str:
    """Time zone of the exchange, such as America/New_York.

    Raises:
        ParameterError: when exchange_calendars knows no such calendar.
    """
    import exchange_calendars

    try:
        return str(exchange_calendars.get_calendar(regular_calendar(calendar), start="2020-01-01", end="2020-02-01").tz)
    except exchange_calendars.errors.InvalidCalendarName as error:
        raise unknown_calendar(calendar) from error


def available_from_date(published: pl.Series, calendar: str, date_only: str) -> pl.Series:
    """When articles that carry only a date become usable (`news.date_only`).

    `next_session` is the open of the first session strictly after the date, `same_session` the open of
    the first session on or after it. Where sessions touch (24/7) an open *is* the close of the session
    before; a microsecond then keeps the article out of that earlier decision.

    Args:
        published: dates of the articles, any order.
        calendar: exchange_calendars name.
        date_only: `next_session` or `same_session`.

    Returns:
        UTC times in the order of `published`; null where the calendar is not known so far.

    Raises:
        ParameterError: when exchange_calendars knows no such calendar, or cannot build it.
        DataError: when the calendar does not reach so far.
    """
    if published.is_empty():
        return pl.Series("available_at", [], dtype=pl.Datetime("us", "UTC"))
    first, last = published.min(), published.max()
    assert isinstance(first, date)
    assert isinstance(last, date)
    earliest = published.dt.offset_by("1d") if date_only == "next_session" else published
    articles = pl.DataFrame({"row": range(len(published)), "earliest": earliest}).sort("earliest")
    touches = pl.col("opens_at") == pl.col("closes_at").shift(1)
    sessions = _with_margin(calendar, first, last).with_columns(
        opens_at=pl.when(touches).then(pl.col("opens_at").dt.offset_by("1us")).otherwise(pl.col("opens_at"))
    )
    joined = articles.join_asof(sessions, left_on="earliest", right_on="session", strategy="forward")
    return joined.sort("row")["opens_at"].alias("available_at")
