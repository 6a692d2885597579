"""What the door lets in: six sessions round Thanksgiving, one rule broken at a time."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from flag_kedro.data.calendar import exchange_sessions
from flag_kedro.data.schema import NEWS, PRICES, DataError, validate_news, validate_prices

SESSIONS = exchange_sessions("XNYS", date(2020, 11, 23), date(2020, 12, 1))
WEDNESDAY, SATURDAY = date(2020, 11, 25), date(2020, 11, 28)


def make_prices(symbol: str = "ACME") -> pl.DataFrame:
    return SESSIONS.select(
        pl.lit(symbol).alias("symbol"),
        "session",
        open=pl.lit(10.0),
        high=pl.lit(11.0),
        low=pl.lit(9.0),
        close=pl.lit(10.5),
        volume=pl.lit(1000.0),
        adj_close=pl.lit(5.25),
        available_at="closes_at",
    )


def on_wednesday(table: pl.DataFrame, column: str, value: object) -> pl.DataFrame:
    chosen = pl.when(pl.col("session") == WEDNESDAY).then(pl.lit(value, dtype=table.schema[column]))
    return table.with_columns(chosen.otherwise(pl.col(column)).alias(column))


def refuse_prices(prices: pl.DataFrame) -> str:
    with pytest.raises(DataError) as caught:
        validate_prices(prices, {"ACME": SESSIONS, "BOLT": SESSIONS})
    return str(caught.value)


def make_news(**columns: object) -> pl.DataFrame:
    row = {
        "symbol": "ACME",
        "published_at": datetime(2020, 11, 25, 15, tzinfo=UTC),
        "available_at": datetime(2020, 11, 25, 15, tzinfo=UTC),
        "headline": "Acme opens a shop",
        "body": None,
        "source": None,
        "url": None,
    }
    return pl.DataFrame([row | columns], schema=NEWS)


def refuse_news(news: pl.DataFrame) -> str:
    with pytest.raises(DataError) as caught:
        validate_news(news)
    return str(caught.value)


def test_sound_prices_come_back_in_order_of_symbol_and_session():
    mixed = pl.concat([make_prices("BOLT"), make_prices("ACME")]).reverse()
    table = validate_prices(mixed, {"ACME": SESSIONS, "BOLT": SESSIONS})
    assert table.select("symbol", "session").rows() == [(s, d) for s in ("ACME", "BOLT") for d in SESSIONS["session"]]
    assert dict(table.schema) == PRICES


def test_source_with_closes_only_is_accepted():
    bare = make_prices().with_columns(
        pl.lit(None, dtype=pl.Float64).alias(c) for c in ("open", "high", "low", "volume")
    )
    assert validate_prices(bare, {"ACME": SESSIONS}).equals(bare)


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "adj_close"])
@pytest.mark.parametrize("value", [-1.0, 0.0, float("nan"), float("inf")])
def test_price_that_is_not_positive_and_finite_is_refused_by_symbol_and_session(column, value):
    message = refuse_prices(on_wednesday(make_prices(), column, value))
    assert f"ACME 2020-11-25: {column} is" in message


@pytest.mark.parametrize("column", ["close", "adj_close", "available_at"])
def test_missing_value_is_refused_where_it_is_required(column):
    assert f"ACME 2020-11-25: {column} is None" in refuse_prices(on_wednesday(make_prices(), column, None))


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_volume_that_is_negative_or_not_finite_is_refused(value):
    assert "ACME 2020-11-25: volume is" in refuse_prices(on_wednesday(make_prices(), "volume", value))


def test_zero_volume_is_a_possible_day():
    quiet = on_wednesday(make_prices(), "volume", 0.0)
    assert validate_prices(quiet, {"ACME": SESSIONS}).equals(quiet)


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("high", 10.4, "high is below"),  # above the open, below the close
        ("open", 11.5, "high is below"),
        ("low", 10.1, "low is above"),  # below the close, above the open
        ("open", 8.5, "low is above"),
    ],
)
def test_range_that_does_not_hold_open_and_close_is_refused(column, value, rule):
    message = refuse_prices(on_wednesday(make_prices(), column, value))
    assert f"ACME 2020-11-25: {rule}" in message
    assert "1 violation(s)" in message


def test_session_given_twice_is_refused():
    prices = make_prices()
    message = refuse_prices(pl.concat([prices, prices.filter(pl.col("session") == WEDNESDAY)]))
    assert "ACME 2020-11-25: the session appears twice" in message


def test_day_without_trading_is_refused():
    saturday = make_prices().head(1).with_columns(session=pl.lit(SATURDAY))
    assert "ACME 2020-11-28: is no session" in refuse_prices(pl.concat([make_prices(), saturday]))


def test_session_left_out_between_others_is_refused():
    message = refuse_prices(make_prices().filter(pl.col("session") != WEDNESDAY))
    assert "ACME 2020-11-25: a session without a price" in message


def test_price_known_before_the_close_is_refused():
    close = datetime(2020, 11, 25, 21, tzinfo=UTC)
    for wrong in (close - timedelta(minutes=1), close + timedelta(minutes=1)):
        message = refuse_prices(on_wednesday(make_prices(), "available_at", wrong))
        assert "ACME 2020-11-25: available_at is not the session's close" in message


def test_half_day_priced_at_four_in_new_york_is_refused():
    late = make_prices().with_columns(
        available_at=pl.col("session").cast(pl.Datetime("us", "UTC")) + timedelta(hours=21)
    )
    message = refuse_prices(late)
    assert "ACME 2020-11-27: available_at" in message
    assert "1 violation(s)" in message


def test_all_violations_are_listed_at_once():
    broken = on_wednesday(make_prices(), "close", -1.0).filter(pl.col("session") != date(2020, 11, 30))
    other = on_wednesday(make_prices("BOLT"), "high", 10.4)
    message = refuse_prices(pl.concat([broken, other]))
    assert "ACME 2020-11-25: close is -1.0" in message
    assert "ACME 2020-11-30: a session without a price" in message
    assert "BOLT 2020-11-25: high is below" in message


def test_long_list_of_violations_is_cut_and_the_rest_counted():
    negative = pl.concat([make_prices(s) for s in ("ACME", "BOLT")]).with_columns(volume=pl.lit(-1.0))
    doubled = pl.concat([negative, negative])  # 24 rows: 24 volumes and 24 doubled sessions
    message = refuse_prices(doubled)
    assert "48 violation(s)" in message
    assert message.endswith("... and 28 more")


@pytest.mark.parametrize("column", list(PRICES))
def test_missing_column_is_named(column):
    assert column in refuse_prices(make_prices().drop(column))


def test_column_nobody_asked_for_is_refused():
    assert "vwap" in refuse_prices(make_prices().with_columns(vwap=pl.lit(10.0)))


def test_prices_in_another_type_are_refused():
    assert "close is Float32" in refuse_prices(make_prices().with_columns(pl.col("close").cast(pl.Float32)))


def test_row_without_a_session_is_refused():
    assert "ACME None: session is None" in refuse_prices(on_wednesday(make_prices(), "session", None))


def test_sound_news_come_back_in_order_of_symbol_and_time():
    early, late = datetime(2020, 11, 24, 15, tzinfo=UTC), datetime(2020, 11, 25, 15, tzinfo=UTC)
    rows = [("BOLT", early), ("ACME", late), ("ACME", early)]
    news = pl.concat([make_news(symbol=s, published_at=early, available_at=t) for s, t in rows])
    ordered = validate_news(news).select("symbol", "available_at").rows()
    assert ordered == [("ACME", early), ("ACME", late), ("BOLT", early)]


@pytest.mark.parametrize("headline", ["", "   ", "\n\t", None])
def test_article_without_a_headline_is_refused(headline):
    message = refuse_news(make_news(headline=headline))
    assert "ACME 2020-11-25 15:00:00+00:00: headline is" in message


def test_headline_that_begins_with_white_space_has_a_text():
    assert validate_news(make_news(headline="\n Acme opens")).height == 1


def test_article_available_before_it_was_published_is_refused():
    message = refuse_news(make_news(available_at=datetime(2020, 11, 25, 14, 59, tzinfo=UTC)))
    assert "ACME 2020-11-25 15:00:00+00:00: available_at lies before published_at" in message


def test_all_broken_articles_are_listed_at_once():
    early = make_news(available_at=datetime(2020, 11, 24, 1, tzinfo=UTC))
    message = refuse_news(pl.concat([make_news(headline="", symbol="BOLT"), make_news(), early]))
    assert "2 violation(s)" in message
    assert "BOLT" in message
    assert "before published_at" in message


def test_no_news_at_all_is_sound():
    assert validate_news(make_news().clear()).is_empty()
