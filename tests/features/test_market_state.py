"""States of two simulated symbols: what they show, what they cannot know, and how they are told apart."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from flag_kedro.data.calendar import available_from_date, exchange_sessions
from flag_kedro.data.schema import NEWS, DataError, validate_news, validate_prices
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.features.market_state import (
    MARKET_STATE,
    FeatureReport,
    build_market_states,
    data_hash,
    describe_market,
)

MARKET = simulate_market(
    ("ALDR", "FJRD"), SimulatedConfig(first_session=date(2021, 1, 4), last_session=date(2021, 4, 30)), 0
)
PRICE_COLUMNS = ["open", "high", "low", "close", "adj_close"]
ROW = {
    "symbol": "ACME",
    "session": date(2021, 3, 1),
    "return_1": 0.0123,
    "return_5": -0.0456,
    "return_20": 0.1,
    "volatility_20": 0.0149,
    "rsi_14": 61.6,
    "macd": -0.0041,
    "range_60": 0.874,
    "volume_ratio": 1.26,
}


def build(
    prices: pl.DataFrame = MARKET.prices,
    news: pl.DataFrame = MARKET.news,
    digest_sessions: int = 1,
    digest_chars: int = 600,
    article_chars: int = 240,
) -> tuple[dict[str, pl.DataFrame], FeatureReport]:
    return build_market_states(
        prices, news, digest_sessions=digest_sessions, digest_chars=digest_chars, article_chars=article_chars
    )


STATES, REPORT = build()
ALDR = STATES["ALDR"]


def article(available_at: datetime, headline: str, symbol: str = "ALDR") -> pl.DataFrame:
    row = {"symbol": symbol, "published_at": available_at, "available_at": available_at, "headline": headline}
    return pl.DataFrame([row | {"body": None, "source": None, "url": None}], schema=NEWS)


def news_text(news: pl.DataFrame, session: date, **options: int) -> str:
    states, _ = build(news=news, **options)
    return states["ALDR"].filter(pl.col("session") == session)["news_text"].item()


def up_to(states: dict[str, pl.DataFrame], decided_at: datetime) -> dict[str, str]:
    return {symbol: table.filter(pl.col("decided_at") <= decided_at).write_csv() for symbol, table in states.items()}


def test_table_has_the_columns_of_the_schema():
    assert all(dict(table.schema) == MARKET_STATE for table in STATES.values())


def test_states_begin_after_59_sessions_of_warm_up():
    assert ALDR["session"][0] == date(2021, 1, 4)
    assert ALDR["session"].to_list() == MARKET.prices.filter(pl.col("symbol") == "ALDR")["session"].to_list()[59:]


def test_decision_is_taken_at_the_close():
    closes = exchange_sessions("XNYS", date(2021, 1, 4), date(2021, 4, 30))["closes_at"]
    assert ALDR["decided_at"].to_list() == closes.to_list()


def test_nothing_shown_became_known_after_the_decision():
    for table in (*STATES.values(), *build(digest_sessions=5)[0].values()):
        assert table["known_at"].null_count() == 0
        assert (table["known_at"] <= table["decided_at"]).all()


def test_latest_thing_shown_is_the_sessions_own_close():
    assert ALDR["known_at"].to_list() == ALDR["decided_at"].to_list()


def test_prices_to_trade_at_are_the_adjusted_open_and_close():
    """Half of every raw price after a 2:1 adjustment of the close."""
    states, _ = build(MARKET.prices.with_columns(adj_close=pl.col("close") / 2))
    raw = MARKET.prices.filter(pl.col("symbol") == "ALDR").slice(59)
    assert states["ALDR"]["open_price"].to_list() == (raw["open"] / 2).to_list()
    assert states["ALDR"]["mark_price"].to_list() == (raw["close"] / 2).to_list()


def test_indicators_are_told_in_words_and_rounded_numbers():
    assert describe_market(ROW) == (
        "1d +1.2%, 5d -4.6%, 20d +10.0%, volatility 1.5%, RSI 62, MACD -0.4%, range 87%, volume 1.3x"
    )


def test_volume_is_not_mentioned_where_there_is_none():
    assert describe_market(ROW | {"volume_ratio": None}).endswith("MACD -0.4%, range 87%")


def test_source_with_closes_only_has_states_without_opens():
    bare = MARKET.prices.with_columns(
        pl.lit(None, dtype=pl.Float64).alias(c) for c in ("open", "high", "low", "volume")
    )
    table = build(bare)[0]["ALDR"]
    assert table["open_price"].null_count() == table.height
    assert not table["market_text"].str.contains("volume").any()
    assert table["mark_price"].equals(ALDR["mark_price"])


def test_constant_prices_are_refused_by_symbol_and_session():
    flat = MARKET.prices.with_columns(pl.lit(50.0).alias(name) for name in PRICE_COLUMNS)
    with pytest.raises(DataError, match="ALDR 2021-01-04: range_60 could not be computed; look for constant prices"):
        build(flat)


def test_symbol_with_too_few_sessions_is_refused_by_name():
    enough, short = (MARKET.prices.group_by("symbol", maintain_order=True).head(num) for num in (61, 60))
    assert build(enough)[0]["FJRD"].height == 2
    with pytest.raises(DataError, match="ALDR has 60 sessions of prices"):
        build(short)


def test_texts_are_the_same_at_another_level_of_prices():
    scaled, _ = build(MARKET.prices.with_columns(pl.col(PRICE_COLUMNS) * 7))
    for symbol, table in STATES.items():
        assert scaled[symbol].select("market_text", "news_text").equals(table.select("market_text", "news_text"))


def test_article_before_the_close_is_shown_that_session_and_one_after_it_the_next():
    close = datetime(2021, 3, 1, 21, tzinfo=UTC)
    in_time, late = article(close, "In time"), article(close + timedelta(microseconds=1), "Too late")
    news = pl.concat([in_time, late])
    assert news_text(news, date(2021, 3, 1)) == "- In time"
    assert news_text(news, date(2021, 3, 2)) == "- Too late"
    assert news_text(news, date(2021, 3, 3)) == "none"


def test_newest_article_is_shown_first():
    news = pl.concat([article(datetime(2021, 3, 1, hour, tzinfo=UTC), f"At {hour}") for hour in (15, 18, 16)])
    assert news_text(news, date(2021, 3, 1)) == "- At 18\n- At 16\n- At 15"


def test_digest_reaches_back_as_many_sessions_as_asked():
    news = pl.concat([article(datetime(2021, 3, day, 16, tzinfo=UTC), f"March {day}") for day in (1, 2, 3)])
    assert news_text(news, date(2021, 3, 3)) == "- March 3"
    assert news_text(news, date(2021, 3, 3), digest_sessions=2) == "- March 3\n- March 2"
    assert news_text(news, date(2021, 3, 8), digest_sessions=4) == "- March 3"


def test_news_of_another_symbol_are_not_shown():
    assert news_text(article(datetime(2021, 3, 1, 16, tzinfo=UTC), "Not mine", "FJRD"), date(2021, 3, 1)) == "none"


def test_weekend_articles_are_shown_on_monday():
    news = article(datetime(2021, 3, 6, 12, tzinfo=UTC), "On Saturday")
    assert news_text(news, date(2021, 3, 5)) == "none"
    assert news_text(news, date(2021, 3, 8)) == "- On Saturday"


def test_report_counts_states_articles_and_what_was_left_out():
    after_the_end = article(datetime(2021, 5, 3, 16, tzinfo=UTC), "May")
    days = [article(datetime(2021, 3, 1, hour, tzinfo=UTC), "x" * 30) for hour in (15, 16, 17)]
    _, report = build(news=pl.concat([after_the_end, *days]), digest_chars=40)
    assert report == FeatureReport(
        num_states=2 * 82, num_articles=4, num_articles_after_last_decision=1, num_articles_beyond_budget=2
    )


@pytest.mark.parametrize(
    ("date_only", "shown"), [("next_session", date(2023, 3, 2)), ("same_session", date(2023, 3, 1))]
)
def test_dated_crypto_article_is_first_shown_by_the_rules_session(date_only, shown):
    """Sessions touch at midnight; the tie must not show an article a day early."""
    sessions = exchange_sessions("24/7", date(2022, 12, 1), date(2023, 3, 5))
    prices = MARKET.prices.head(sessions.height).with_columns(
        sessions["session"], sessions["closes_at"].alias("available_at"), symbol=pl.lit("BTC")
    )
    published = pl.Series([date(2023, 3, 1)])
    (available_at,) = available_from_date(published, "24/7", date_only)
    news = article(available_at, "Dated the first of March", "BTC")
    table = build(validate_prices(prices, {"BTC": sessions}), news)[0]["BTC"]
    assert table.filter(pl.col("news_text") != "none")["session"].to_list() == [shown]


def corrupt_prices_tenfold(prices: pl.DataFrame, news: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    return prices.with_columns(pl.col([*PRICE_COLUMNS, "volume"]) * 10), news


def corrupt_prices_backwards(prices: pl.DataFrame, news: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    columns = [*PRICE_COLUMNS, "volume"]
    return prices.with_columns(pl.col(columns).reverse().over("symbol")), news


def corrupt_news_swapped(prices: pl.DataFrame, news: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    return prices, news.with_columns(pl.col("headline").reverse().over("symbol"))


def corrupt_news_dropped(prices: pl.DataFrame, news: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    return prices, news.clear()


@pytest.mark.parametrize("digest_sessions", [1, 4])
@pytest.mark.parametrize("t", [0, 1, 40, 80])
@pytest.mark.parametrize(
    "corrupt", [corrupt_prices_tenfold, corrupt_prices_backwards, corrupt_news_swapped, corrupt_news_dropped]
)
def test_future_prices_and_news_leave_the_states_before_byte_identical(corrupt, t, digest_sessions):
    cutoff = ALDR["decided_at"][t]
    known, future = pl.col("available_at") <= cutoff, pl.col("available_at") > cutoff
    prices, news = corrupt(MARKET.prices.filter(future), MARKET.news.filter(future))
    honest, _ = build(digest_sessions=digest_sessions)
    corrupted, _ = build(
        pl.concat([MARKET.prices.filter(known), prices]).sort("symbol", "session"),
        pl.concat([MARKET.news.filter(known), news]),
        digest_sessions=digest_sessions,
    )
    assert up_to(corrupted, cutoff) == up_to(honest, cutoff)
    last = ALDR["decided_at"][-1]
    reversing_one_day = corrupt is corrupt_prices_backwards and t == 80
    assert reversing_one_day or up_to(corrupted, last) != up_to(honest, last)


def test_states_are_the_same_when_the_future_is_absent():
    cutoff = ALDR["decided_at"][30]
    states, _ = build(*(table.filter(pl.col("available_at") <= cutoff) for table in (MARKET.prices, MARKET.news)))
    assert up_to(states, cutoff) == up_to(STATES, cutoff)
    assert states["ALDR"].height == 31


def test_state_of_a_symbol_does_not_depend_on_the_others():
    alone, _ = build(MARKET.prices.filter(pl.col("symbol") == "FJRD"))
    assert alone["FJRD"].equals(STATES["FJRD"])


def test_order_of_rows_before_ingest_does_not_matter():
    """Simulated headlines may share a minute; the check at the door orders them by their text."""
    states, _ = build(MARKET.prices.reverse(), validate_news(MARKET.news.reverse()))
    assert data_hash(states) == data_hash(build(news=validate_news(MARKET.news))[0])


def test_data_hash_does_not_depend_on_the_order_of_symbols():
    assert data_hash(dict(reversed(STATES.items()))) == data_hash(STATES)


def test_data_hash_depends_on_which_symbols_there_are():
    assert data_hash({"ALDR": ALDR}) != data_hash(STATES)
    assert data_hash({"ALDR": STATES["FJRD"], "FJRD": ALDR}) != data_hash(STATES)


@pytest.mark.parametrize(
    "change",
    [
        pl.col("mark_price") + 0.01,
        pl.col("open_price") * (1 + 1e-9),
        pl.col("volume") + 1,
        pl.col("market_text") + " ",
        pl.col("news_text").str.replace("A", "a"),
        pl.col("session") + timedelta(days=1),
        pl.col("decided_at") + timedelta(microseconds=1),
    ],
)
def test_data_hash_changes_with_any_text_price_or_time(change):
    one_row = pl.int_range(pl.len()) == 5
    name = change.meta.root_names()[0]
    changed = ALDR.with_columns(pl.when(one_row).then(change).otherwise(pl.col(name)).alias(name))
    assert data_hash(STATES | {"ALDR": changed}) != data_hash(STATES)


def test_same_market_has_the_same_hash():
    assert data_hash(build()[0]) == data_hash(STATES)


def test_one_changed_headline_changes_the_hash_of_the_whole():
    other = article(datetime(2021, 3, 1, 16, tzinfo=UTC), "One more")
    assert data_hash(build(news=pl.concat([MARKET.news, other]))[0]) != data_hash(STATES)
