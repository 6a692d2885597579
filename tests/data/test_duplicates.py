"""The same story counts once: what is the same, for how long, and that no later article decides."""

import random
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from flag_kedro.data.duplicates import count_articles, merge_duplicates
from flag_kedro.data.schema import NEWS

MONDAY = datetime(2021, 3, 1, 15, tzinfo=UTC)
STORIES = ("Acme beats estimates", "UPDATE 1-Acme beats estimates", "Acme cuts outlook", "Acme beats estimates | CNBC")


def table(*articles: tuple[float, str], symbol: str = "ACME") -> pl.DataFrame:
    """Articles by days after Monday 15:00 UTC, an hour when New York trades, and headline."""
    rows = [
        (symbol, MONDAY + timedelta(days=days), MONDAY + timedelta(days=days), headline, None, None, str(number))
        for number, (days, headline) in enumerate(articles)
    ]
    return pl.DataFrame(rows, schema=NEWS, orient="row")


def rows_kept(news: pl.DataFrame, within: int = 3, calendar: str = "XNYS") -> list[int]:
    return [int(number) for number in merge_duplicates(news, lambda symbol: calendar, within)[0]["url"]]


@pytest.mark.parametrize(
    "headline",
    [
        "Acme beats estimates",
        "ACME BEATS ESTIMATES!",
        "UPDATE 1-Acme beats estimates",
        "RPT-UPDATE 2-Acme beats estimates",
        "BRIEF-Acme beats estimates",
        "Breaking: Acme beats estimates",
        "NEW YORK (Reuters) - Acme beats estimates",
        "(Reuters) – Acme beats estimates",
        "Acme beats estimates - Reuters",
        "Acme beats estimates — The Wall Street Journal",
        "Acme beats estimates | MarketWatch",
        "Acme beats estimates (Reuters)",
        "Acme  beats\u00a0estimates - Investing.com ",
        "Ａｃｍｅ beats estimates",
        "Acme beats estimates (sentiment: positive)",
        "*DJ Acme beats estimates",
    ],
)
def test_wires_spell_the_same_story_their_own_way(headline):
    assert rows_kept(table((0, "Acme beats estimates"), (0.1, headline))) == [0]


@pytest.mark.parametrize(
    "headline",
    [
        "Acme beats estimates again",
        "Acme 2 beats estimates",
        "Acme-Reuters beats estimates",
        "Acme beats estimates by 3%",
        "Update on Acme: beats estimates",
        "",
    ],
)
def test_another_story_stays(headline):
    assert rows_kept(table((0, "Acme beats estimates"), (0.1, headline))) == [0, 1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Acme up 1.5%", "Acme up 15%"),
        ("Acme up 1.5.2", "Acme up 1.52"),
        ("Acme earns $1,5", "Acme earns $15"),
        ("Acme moves +5%", "Acme moves -5%"),
        ("Acme moves 5%", "Acme moves \u22125%"),
        ("+5% for Acme", "-5% for Acme"),
        ("-5% for Acme", "5% for Acme"),
        ("Acme EPS $(1.20)", "Acme EPS $1.20"),
        ("Acme EPS ($1.20)", "Acme EPS $1.20"),
        ("Acme EPS -$1.20", "Acme EPS $1.20"),
        ("Acme EPS $-1.20", "Acme EPS $1.20"),
    ],
)
def test_another_number_is_another_story(one, other):
    assert rows_kept(table((0, one), (0.1, other))) == [0, 1]
    assert rows_kept(table((0, one), (0.1, one.upper() + "!"))) == [0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Acme: Covid-19 hurts", "Acme: Covid 19 hurts"),
        ("Acme, Q3.", "Acme Q3"),
        ("Acme 5-year bond", "Acme 5 year bond"),
    ],
)
def test_hyphens_and_stops_that_belong_to_no_number_are_not_compared(one, other):
    assert rows_kept(table((0, one), (0.1, other))) == [0]


def test_articles_without_symbol_or_time_are_left_to_the_door():
    sound = table((0, "a"), (0.1, "a"))
    lost = table((0, "a"), (0, "b"))
    news = pl.concat(
        [
            lost.with_columns(symbol=pl.lit(None, dtype=pl.String)),
            sound,
            lost.with_columns(available_at=pl.lit(None, dtype=NEWS["available_at"])),
            table((0, "a"), symbol="BTC").with_columns(available_at=pl.lit(None, dtype=NEWS["available_at"])),
        ]
    )
    distinct, counts = merge_duplicates(news, lambda symbol: "24/7" if symbol == "BTC" else "XNYS", 3)
    assert_frame_equal(distinct, pl.concat([news[:3], news[4:]]))
    assert counts == {"ACME": 1}


@pytest.mark.parametrize("headline", ["", "...", "—", None])
def test_headlines_without_letters_are_never_the_same(headline):
    assert rows_kept(table((0, headline), (0.1, headline))) == [0, 1]


def test_headlines_of_all_scripts_are_compared():
    assert rows_kept(table((0, "アクメ 上方修正"), (0.1, "アクメ、上方修正"), (0.2, "アクメ 下方修正"))) == [0, 2]


def test_story_returns_after_the_sessions_asked_for():
    """Monday's story stands for Thursday's, three sessions later, but not for Friday's."""
    assert rows_kept(table((0, "a"), (3, "a"))) == [0]
    assert rows_kept(table((0, "a"), (4, "a"))) == [0, 1]
    assert rows_kept(table((0, "a"), (1, "a")), within=1) == [0]
    assert rows_kept(table((0, "a"), (2, "a")), within=1) == [0, 1]


def test_sessions_are_the_exchanges_own():
    """From Monday to the next Monday are five sessions in New York, seven days around the clock."""
    assert rows_kept(table((0, "a"), (7, "a")), within=5) == [0]
    assert rows_kept(table((0, "a"), (7, "a")), within=5, calendar="24/7") == [0, 1]


def test_article_after_the_close_belongs_to_the_next_session():
    """The exchange closes at 21:00 UTC, six hours after the first article."""
    assert rows_kept(table((0, "a"), (1.25, "a")), within=1) == [0]
    assert rows_kept(table((0, "a"), (1.26, "a")), within=1) == [0, 1]


def test_daily_headline_is_shown_again_counting_from_the_one_that_was_rows_kept():
    assert rows_kept(table(*((day, "Why Acme moves today") for day in (0, 1, 2, 3, 4, 7, 8, 9)))) == [0, 4]
    assert rows_kept(table(*((day, "Why Acme moves today") for day in (0, 1, 2, 3, 4, 7, 8, 9, 10, 11)))) == [0, 4, 8]


def test_nothing_is_folded_when_not_asked_for():
    assert rows_kept(table((0, "a"), (0, "a")), within=0) == [0, 1]


def test_symbols_tell_their_own_stories():
    news = pl.concat([table((0, "a"), (0.1, "a")), table((0.2, "a"), symbol="JNJ")])
    distinct, counts = merge_duplicates(news, lambda symbol: "XNYS", 3)
    assert distinct["symbol"].to_list() == ["ACME", "JNJ"]
    assert count_articles(news, distinct, counts) == {
        "ACME": {"read": 2, "folded": 1, "kept": 1},
        "JNJ": {"read": 1, "folded": 0, "kept": 1},
    }


def test_earliest_known_stays_whatever_the_order_of_rows():
    news = table((2, "a"), (0, "a"), (1, "a"))
    assert rows_kept(news) == [1]


ARTICLES = st.lists(st.tuples(st.integers(0, 40).map(lambda n: n / 4), st.sampled_from(STORIES)), max_size=25)


@given(ARTICLES, st.integers(0, 40), st.integers(1, 4))
def test_later_articles_decide_nothing(articles, end, within):
    news = table(*articles)
    until = news.filter(pl.col("available_at") <= MONDAY + timedelta(days=end / 4))
    whole = merge_duplicates(news, lambda symbol: "XNYS", within)[0]
    assert_frame_equal(
        merge_duplicates(until, lambda symbol: "XNYS", within)[0],
        whole.filter(pl.col("available_at") <= MONDAY + timedelta(days=end / 4)),
    )


@given(ARTICLES, st.integers(0, 2**32))
def test_order_of_rows_decides_nothing(articles, seed):
    news = table(*articles)
    order = list(range(news.height))
    random.Random(seed).shuffle(order)
    assert sorted(rows_kept(news)) == sorted(rows_kept(news[order]))
