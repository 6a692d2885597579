"""Sessions against the exchanges' published hours, and the clock of articles that carry only a date."""

from datetime import UTC, date, datetime, timedelta

import exchange_calendars
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flag_kedro.data.calendar import (
    available_from_date,
    exchange_sessions,
    exchange_zone,
    regular_calendar,
    sessions_by_symbol,
    with_extra_sessions,
)
from flag_kedro.errors import DataError, ParameterError

FRIDAY, SATURDAY, SUNDAY, MONDAY = (date(2020, 11, day) for day in (20, 21, 22, 23))
MONDAY_OPEN = datetime(2020, 11, 23, 14, 30, tzinfo=UTC)
FRIDAY_OPEN = datetime(2020, 11, 20, 14, 30, tzinfo=UTC)


def available(days: list[date], calendar: str, date_only: str) -> list[datetime]:
    return available_from_date(pl.Series(days, dtype=pl.Date), calendar, date_only).to_list()


def test_day_after_thanksgiving_closes_at_one_in_new_york():
    sessions = exchange_sessions("XNYS", date(2020, 11, 25), date(2020, 11, 30))
    assert sessions["session"].to_list() == [date(2020, 11, 25), date(2020, 11, 27), date(2020, 11, 30)]
    assert sessions["closes_at"].to_list() == [
        datetime(2020, 11, 25, 21, tzinfo=UTC),
        datetime(2020, 11, 27, 18, tzinfo=UTC),
        datetime(2020, 11, 30, 21, tzinfo=UTC),
    ]


def test_hours_in_utc_follow_new_york_summer_time():
    sessions = exchange_sessions("XNYS", date(2021, 3, 12), date(2021, 3, 15))
    assert sessions["opens_at"].to_list() == [
        datetime(2021, 3, 12, 14, 30, tzinfo=UTC),
        datetime(2021, 3, 15, 13, 30, tzinfo=UTC),
    ]


def test_new_york_had_252_sessions_in_2021():
    assert exchange_sessions("XNYS", date(2021, 1, 1), date(2021, 12, 31)).height == 252


def test_crypto_day_closes_at_its_own_midnight_and_weekends_count():
    sessions = exchange_sessions("24/7", SATURDAY, SUNDAY)
    assert sessions["session"].to_list() == [SATURDAY, SUNDAY]
    assert sessions["opens_at"].to_list() == [datetime(2020, 11, day, tzinfo=UTC) for day in (21, 22)]
    assert sessions["closes_at"].to_list() == [datetime(2020, 11, day, tzinfo=UTC) for day in (22, 23)]


def test_unknown_calendar_is_refused_by_its_name_and_key():
    with pytest.raises(ParameterError, match=r"data\.calendar.*'NASDUCK'.*XNYS.*24/7"):
        exchange_sessions("NASDUCK", MONDAY, MONDAY)


def test_dated_article_waits_for_the_open_of_the_next_session():
    assert available([FRIDAY, SATURDAY, SUNDAY], "XNYS", "next_session") == [MONDAY_OPEN] * 3


def test_same_session_makes_a_dated_article_known_at_the_open_of_its_day_or_after_the_weekend():
    expected = [FRIDAY_OPEN, MONDAY_OPEN, MONDAY_OPEN, MONDAY_OPEN]
    assert available([FRIDAY, SATURDAY, SUNDAY, MONDAY], "XNYS", "same_session") == expected


def test_next_session_skips_a_holiday():
    day_before_thanksgiving = date(2020, 11, 25)
    assert available([day_before_thanksgiving], "XNYS", "next_session") == [datetime(2020, 11, 27, 14, 30, tzinfo=UTC)]


def test_times_come_back_in_the_order_of_the_articles():
    days = [MONDAY, FRIDAY, SUNDAY, FRIDAY]
    assert available(days, "XNYS", "same_session") == [MONDAY_OPEN, FRIDAY_OPEN, MONDAY_OPEN, FRIDAY_OPEN]


def test_no_articles_give_no_times():
    assert available([], "XNYS", "next_session") == []


@given(day=st.dates(date(2022, 1, 1), date(2023, 12, 31)))
def test_crypto_article_of_a_date_misses_that_dates_own_decision_under_next_session(day):
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    (time,) = available([day], "24/7", "next_session")
    assert midnight + timedelta(days=1) < time < midnight + timedelta(days=2)


@given(day=st.dates(date(2022, 1, 1), date(2023, 12, 31)))
def test_crypto_article_of_a_date_misses_the_previous_dates_decision_under_same_session(day):
    """The close of the day before is the open of the article's day; the article was not yet written then."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    (time,) = available([day], "24/7", "same_session")
    assert midnight < time < midnight + timedelta(days=1)


@pytest.mark.parametrize("calendar", ["XNYS", "24/7"])
@pytest.mark.parametrize(("date_only", "later"), [("next_session", 1), ("same_session", 0)])
def test_first_decision_that_may_use_a_dated_article_is_the_rules_session(calendar, date_only, later):
    sessions = exchange_sessions(calendar, date(2023, 1, 1), date(2024, 1, 31))
    days = [date(2023, 1, 1) + timedelta(days=n) for n in range(365)]
    closes = sessions.select("session", "closes_at").rows()
    for day, time in zip(days, available(days, calendar, date_only), strict=True):
        by_clock = next(session for session, closes_at in closes if closes_at >= time)
        by_rule = next(session for session, _ in closes if session >= day + timedelta(days=later))
        assert by_clock == by_rule


def test_calendar_is_used_to_the_last_day_that_is_known_of_it():
    """Mumbai's holidays are published by the year; a margin beyond must not cost the last weeks."""
    last_day = exchange_calendars.get_calendar("XBOM").bound_max().date()
    last = exchange_sessions("XBOM", last_day - timedelta(days=40), last_day)["session"][-1]
    assert last_day - last < timedelta(days=7)
    (opens_at,) = available([last - timedelta(days=10)], "XBOM", "next_session")
    assert opens_at is not None
    with pytest.raises(DataError, match=r"XBOM does not reach .* newer release of exchange_calendars"):
        exchange_sessions("XBOM", last_day, last_day + timedelta(days=1))


def test_calendar_that_cannot_be_built_says_so():
    with pytest.raises(ParameterError, match="exchange_calendars cannot build ASEX here"):
        exchange_sessions("ASEX", date(2020, 1, 2), date(2020, 2, 3))


def test_sessions_by_symbol_are_each_symbols_own():
    spans = pl.DataFrame(
        {
            "symbol": ["BTC", "MSFT"],
            "calendar": ["24/7", "XNYS"],
            "first": [date(2020, 11, 26), date(2020, 11, 25)],
            "last": [date(2020, 11, 27), date(2020, 11, 27)],
        }
    )
    assert sessions_by_symbol(spans).select("symbol", "session").rows() == [
        ("BTC", date(2020, 11, 26)),
        ("BTC", date(2020, 11, 27)),
        ("MSFT", date(2020, 11, 25)),
        ("MSFT", date(2020, 11, 27)),
    ]


def test_extra_session_has_the_usual_hours_of_its_exchange():
    calendar = with_extra_sessions("XNYS", [SATURDAY])
    sessions = exchange_sessions(calendar, FRIDAY, date(2020, 11, 28))
    assert sessions["session"].to_list() == [date(2020, 11, day) for day in (20, 21, 23, 24, 25, 27)]
    assert sessions.row(1)[1:] == (
        datetime(2020, 11, 21, 14, 30, tzinfo=UTC),
        datetime(2020, 11, 21, 21, 0, tzinfo=UTC),
    )
    assert exchange_zone(calendar) == "America/New_York"
    assert regular_calendar(calendar) == "XNYS"


def test_extra_session_that_the_calendar_has_changes_nothing():
    calendar = with_extra_sessions("XNYS", [FRIDAY])
    assert exchange_sessions(calendar, FRIDAY, MONDAY).equals(exchange_sessions("XNYS", FRIDAY, MONDAY))


def test_article_of_a_date_is_usable_in_the_extra_session_after_it():
    calendar = with_extra_sessions("XNYS", [SATURDAY])
    assert available([FRIDAY], calendar, "next_session") == [datetime(2020, 11, 21, 14, 30, tzinfo=UTC)]
