"""Which decision may use which article."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flag_kedro.data.schema import UTC as UTC_TYPE
from flag_kedro.errors import DataError
from flag_kedro.features.alignment import align_news_to_decisions

CLOSES = [
    datetime(2020, 11, 25, 21, tzinfo=UTC),
    datetime(2020, 11, 27, 18, tzinfo=UTC),
    datetime(2020, 11, 30, 21, tzinfo=UTC),
]
SESSIONS = pl.DataFrame(
    {"symbol": ["ACME"] * 3, "session": [close.date() for close in CLOSES], "decided_at": CLOSES},
    schema={"symbol": pl.String, "session": pl.Date, "decided_at": UTC_TYPE},
)
MICROSECOND = timedelta(microseconds=1)


def articles(times: list[datetime]) -> pl.DataFrame:
    texts = [f"article {n}" for n in range(len(times))]
    rows = {"symbol": ["ACME"] * len(times), "available_at": times, "headline": texts}
    return pl.DataFrame(rows, schema={"symbol": pl.String, "available_at": UTC_TYPE, "headline": pl.String})


def session_of(time: datetime) -> date | None:
    aligned, _ = align_news_to_decisions(articles([time]), SESSIONS)
    return aligned["session"].item() if aligned.height else None


def test_article_at_the_close_is_in_time():
    assert session_of(CLOSES[0]) == date(2020, 11, 25)


def test_article_a_microsecond_after_the_close_waits_for_the_next_session():
    assert session_of(CLOSES[0] + MICROSECOND) == date(2020, 11, 27)


def test_article_after_an_early_close_waits_for_the_next_session():
    assert session_of(datetime(2020, 11, 27, 18, 1, tzinfo=UTC)) == date(2020, 11, 30)


def test_article_of_a_holiday_or_weekend_goes_to_the_next_session():
    assert session_of(datetime(2020, 11, 26, 12, tzinfo=UTC)) == date(2020, 11, 27)
    assert session_of(datetime(2020, 11, 28, 12, tzinfo=UTC)) == date(2020, 11, 30)


def test_article_older_than_the_first_session_goes_to_the_first():
    assert session_of(datetime(2019, 1, 1, tzinfo=UTC)) == date(2020, 11, 25)


def test_articles_after_the_last_decision_are_dropped_and_counted():
    times = [CLOSES[-1] + MICROSECOND, CLOSES[-1], CLOSES[-1] + timedelta(days=9)]
    aligned, num_dropped = align_news_to_decisions(articles(times), SESSIONS)
    assert aligned["headline"].to_list() == ["article 1"]
    assert num_dropped == 2


def test_no_articles_align_to_nothing():
    aligned, num_dropped = align_news_to_decisions(articles([]), SESSIONS)
    assert (aligned.height, num_dropped) == (0, 0)
    assert "session" in aligned.columns


def test_articles_come_back_in_order_of_time_and_ties_in_the_order_given():
    times = [CLOSES[1], CLOSES[0], CLOSES[1], CLOSES[0]]
    aligned, _ = align_news_to_decisions(articles(times), SESSIONS)
    assert aligned["headline"].to_list() == ["article 1", "article 3", "article 0", "article 2"]


def test_symbols_align_to_sessions_of_their_own():
    other = SESSIONS.head(1).with_columns(symbol=pl.lit("OTHER"))
    news = articles([CLOSES[0] + MICROSECOND] * 2).with_columns(symbol=pl.Series(["OTHER", "ACME"]))
    aligned, num_dropped = align_news_to_decisions(news, pl.concat([SESSIONS, other]))
    assert aligned.select("symbol", "session").rows() == [("ACME", date(2020, 11, 27))]
    assert num_dropped == 1


def test_sessions_out_of_order_are_refused():
    with pytest.raises(DataError, match="ascending"):
        align_news_to_decisions(articles([]), SESSIONS.reverse())


@given(minutes=st.lists(st.integers(-3000, 12000), max_size=20))
def test_every_article_is_known_at_its_decision_and_was_not_at_the_one_before(minutes):
    given_times = [CLOSES[0] + timedelta(minutes=number) for number in minutes]
    aligned, num_dropped = align_news_to_decisions(articles(given_times), SESSIONS)
    assert aligned.height + num_dropped == len(minutes)
    for time, session in aligned.select("available_at", "session").rows():
        day = SESSIONS["session"].to_list().index(session)
        assert time <= CLOSES[day]
        assert day == 0 or time > CLOSES[day - 1]
    assert num_dropped == sum(time > CLOSES[-1] for time in given_times)
