"""Exchange sessions with their opens and closes in UTC."""

from datetime import date, timedelta
from functools import lru_cache

import exchange_calendars
import pandas as pd
import polars as pl

from flag_kedro.data.schema import UTC, DataError

MARGIN = timedelta(days=14)
"""Longer than any closure of an exchange, so that a next session is always inside."""


@lru_cache(maxsize=64)
def exchange_sessions(calendar: str, first: date, last: date) -> pl.DataFrame:
    """Sessions of `calendar` from `first` to `last`, both included, early closes respected.

    Returns:
        `session` (date, ascending), `opens_at` and `closes_at` (UTC). For `24/7` a session is a UTC day
        that closes at 24:00.

    Raises:
        DataError: when exchange_calendars knows no such calendar.
    """
    try:
        exchange = exchange_calendars.get_calendar(calendar, start=first - MARGIN, end=last + MARGIN)
    except exchange_calendars.errors.InvalidCalendarName as error:
        raise DataError(
            f"data.calendar: exchange_calendars knows no calendar {calendar!r}; "
            "use an exchange's code such as XNYS, or 24/7 for crypto"
        ) from error
    schedule = exchange.schedule.loc[pd.Timestamp(first) : pd.Timestamp(last)]
    return pl.DataFrame(
        {
            "session": [stamp.date() for stamp in schedule.index],
            "opens_at": schedule["open"].dt.tz_convert("UTC").dt.to_pydatetime().tolist(),
            "closes_at": schedule["close"].dt.tz_convert("UTC").dt.to_pydatetime().tolist(),
        },
        schema={"session": pl.Date, "opens_at": UTC, "closes_at": UTC},
    )


def available_from_date(published: pl.Series, calendar: str, date_only: str) -> pl.Series:
    """When articles that carry only a date become usable (SEMANTICS: `news.date_only`).

    `next_session` is the open of the first session strictly after the date, `same_session` the open of
    the first session on or after it. Where sessions touch (24/7) an open *is* the close of the session
    before; a microsecond then keeps the article out of that earlier decision.

    Args:
        published: dates of the articles, any order.
        calendar: exchange_calendars name.
        date_only: `next_session` or `same_session`.

    Returns:
        UTC times in the order of `published`.
    """
    if published.is_empty():
        return pl.Series("available_at", [], dtype=pl.Datetime("us", "UTC"))
    first, last = published.min(), published.max()
    assert isinstance(first, date)
    assert isinstance(last, date)
    earliest = published.dt.offset_by("1d") if date_only == "next_session" else published
    articles = pl.DataFrame({"row": range(len(published)), "earliest": earliest}).sort("earliest")
    touches = pl.col("opens_at") == pl.col("closes_at").shift(1)
    sessions = exchange_sessions(calendar, first - MARGIN, last + MARGIN).with_columns(
        opens_at=pl.when(touches).then(pl.col("opens_at").dt.offset_by("1us")).otherwise(pl.col("opens_at"))
    )
    joined = articles.join_asof(sessions, left_on="earliest", right_on="session", strategy="forward")
    return joined.sort("row")["opens_at"].alias("available_at")
