"""States of two simulated symbols: what they show, what they cannot know, and how they are told apart."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flag_kedro.data.calendar import available_from_date, exchange_sessions
from flag_kedro.data.schema import NEWS
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.data.validation import ValidatedTables
from flag_kedro.errors import DataError
from flag_kedro.features.market_state import (
    MARKET_STATE,
    FeatureReport,
    build_market_states,
    data_hash,
    describe_market,
)

MARKET = simulate_market(
    ("ALDR", "FJRD"), SimulatedConfig(market="easy", first_session=date(2021, 1, 4), last_session=date(2021, 4, 30)), 0
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
    **options: Any,
) -> tuple[dict[str, pl.DataFrame], FeatureReport]:
    sizes = {"digest_sessions": digest_sessions, "digest_chars": digest_chars, "article_chars": article_chars}
    return build_market_states(prices, news, **sizes, **options)


def describe(row: dict[str, object]) -> str:
    return describe_market(pl.DataFrame([row], schema_overrides={"volume_ratio": pl.Float64})).item()


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
    assert describe(ROW) == (
        "1d +1.2%, 5d -4.6%, 20d +10.0%, volatility 1.5%, RSI 62, MACD -0.4%, range 87%, volume 1.3x"
    )


def test_volume_is_not_mentioned_where_there_is_none():
    assert describe(ROW | {"volume_ratio": None}).endswith("MACD -0.4%, range 87%")


def test_source_with_closes_only_has_states_without_opens():
    bare = MARKET.prices.with_columns(
        pl.lit(None, dtype=pl.Float64).alias(c) for c in ("open", "high", "low", "volume")
    )
    table = build(bare)[0]["ALDR"]
    assert table["open_price"].null_count() == table.height
    assert not table["market_text"].str.contains("volume").any()
    assert table["mark_price"].equals(ALDR["mark_price"])


def test_what_rounds_to_nothing_has_no_minus():
    row = ROW | {"return_1": -0.0004, "macd": -1e-9, "return_5": -0.0, "return_20": -0.0006}
    assert describe(row).startswith("1d +0.0%, 5d +0.0%, 20d -0.1%")
    assert "MACD +0.0%" in describe(row)


@given(
    values=st.lists(st.floats(-20, 20), min_size=6, max_size=6),
    shares=st.lists(st.floats(0, 1), min_size=2, max_size=2),
)
def test_numbers_are_those_python_would_print(values, shares):
    """But for the minus of a zero, and for numbers that lie between two."""
    names = ["return_1", "return_5", "return_20", "volatility_20", "macd", "volume_ratio"]
    row = ROW | dict(zip(names, values, strict=True))
    row |= {"volatility_20": abs(values[3]), "volume_ratio": abs(values[5])}
    row |= {"rsi_14": 100 * shares[0], "range_60": shares[1]}
    tenths = [1000 * row[name] for name in names[:5]] + [10 * row["volume_ratio"], row["rsi_14"], 100 * shares[1]]
    assume(all(abs(value % 1 - 0.5) > 1e-9 for value in tenths))
    printed = (
        f"1d {row['return_1']:+.1%}, 5d {row['return_5']:+.1%}, 20d {row['return_20']:+.1%}, "
        f"volatility {row['volatility_20']:.1%}, RSI {row['rsi_14']:.0f}, MACD {row['macd']:+.1%}, "
        f"range {row['range_60']:.0%}, volume {row['volume_ratio']:.1f}x"
    )
    assert describe(row) == printed.replace("-0.0%", "+0.0%")


def test_constant_prices_have_states():
    flat = MARKET.prices.with_columns(pl.lit(50.0).alias(name) for name in PRICE_COLUMNS)
    assert all("RSI 50" in text and "range 50%" in text for text in build(prices=flat)[0]["ALDR"]["market_text"])


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


def test_article_that_mentions_the_company_is_shown_before_newer_ones():
    headlines = {14: "Alder Foods burns", 15: "Oil falls", 16: "ALDR halted", 17: "Rain"}
    news = pl.concat([article(datetime(2021, 3, 1, hour, tzinfo=UTC), text) for hour, text in headlines.items()])
    session = date(2021, 3, 1)
    states, _ = build(news=news, names={"ALDR": ("Alder Foods",), "FJRD": ("Oil",)})
    shown = states["ALDR"].filter(pl.col("session") == session)["news_text"].item()
    assert shown == "- ALDR halted\n- Alder Foods burns\n- Rain\n- Oil falls"
    assert news_text(news, session) == "- ALDR halted\n- Rain\n- Oil falls\n- Alder Foods burns"


def test_articles_that_do_not_fit_are_cut_alike_and_the_rest_counted():
    news = pl.concat([article(datetime(2021, 3, 1, hour, tzinfo=UTC), f"{hour} " + "x" * 97) for hour in (14, 15, 16)])
    sizes = {"digest_chars": 100, "min_article_chars": 40}
    shown = news_text(news, date(2021, 3, 1), **sizes)
    assert shown == f"- 16 {'x' * 39}…\n- 15 {'x' * 38}…\n(+1 more)"  # 43 and 42 of 100 - 5 - 10
    _, report = build(news=news, **sizes)
    assert (report.num_articles_beyond_budget, report.num_articles_cut) == (1, 2)


def test_states_are_the_same_however_many_symbols_are_worked_on_at_once(monkeypatch):
    monkeypatch.setattr("flag_kedro.features.market_state.BATCH_ROWS", 1)
    states, report = build()
    assert all(states[symbol].equals(STATES[symbol]) for symbol in STATES)
    assert report == REPORT


def test_sessions_that_a_symbol_lacks_are_no_rows_and_their_news_wait_for_the_next():
    prices = MARKET.prices.filter((pl.col("symbol") != "ALDR") | (pl.col("session") != date(2021, 3, 2)))
    news = article(datetime(2021, 3, 2, 16, tzinfo=UTC), "On the day without a price")
    table = build(prices, news)[0]["ALDR"]
    assert table.height == ALDR.height - 1
    assert table.filter(pl.col("news_text") != "none")["session"].to_list() == [date(2021, 3, 3)]


def test_headlines_of_the_embedded_market_stand_as_they_are_newest_first():
    """Three short headlines are neither cut nor moved, whether or not the company's name is known."""
    news = MARKET.news.filter(pl.col("symbol") == "ALDR").sort("available_at", maintain_order=True)
    for table in (ALDR, build(names={"ALDR": ("Alder Foods",)})[0]["ALDR"]):
        for session, since, until, text in zip(
            table["session"][1:], table["decided_at"], table["decided_at"][1:], table["news_text"][1:], strict=False
        ):
            lines = [
                f"- {line}"
                for line in news.filter(pl.col("available_at").is_between(since, until, "right"))["headline"]
            ]
            assert text == ("\n".join(reversed(lines)) or "none"), session


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
        num_states=2 * 82,
        num_articles=4,
        num_articles_after_last_decision=1,
        num_articles_beyond_budget=2,
        num_articles_cut=1,
    )


@pytest.mark.parametrize(
    ("date_only", "shown"), [("next_session", date(2023, 3, 2)), ("same_session", date(2023, 3, 1))]
)
def test_dated_crypto_article_is_first_shown_by_the_rules_session(
    date_only, shown, let_in: Callable[..., ValidatedTables]
):
    """Sessions touch at midnight; the tie must not show an article a day early."""
    sessions = exchange_sessions("24/7", date(2022, 12, 1), date(2023, 3, 5))
    prices = MARKET.prices.head(sessions.height).with_columns(
        sessions["session"], sessions["closes_at"].alias("available_at"), symbol=pl.lit("BTC")
    )
    published = pl.Series([date(2023, 3, 1)])
    (available_at,) = available_from_date(published, "24/7", date_only)
    news = article(available_at, "Dated the first of March", "BTC")
    table = build(let_in(prices, calendar="24/7").prices, news)[0]["BTC"]
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
    past, future = pl.col("available_at") <= cutoff, pl.col("available_at") > cutoff
    prices, news = corrupt(MARKET.prices.filter(future), MARKET.news.filter(future))
    honest, _ = build(digest_sessions=digest_sessions)
    corrupted, _ = build(
        pl.concat([MARKET.prices.filter(past), prices]).sort("symbol", "session"),
        pl.concat([MARKET.news.filter(past), news]),
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


def test_order_of_rows_before_ingest_does_not_matter(let_in: Callable[..., ValidatedTables]):
    """Simulated headlines may share a minute; validation orders them by their text."""
    turned, straight = (
        let_in(prices, news)
        for prices, news in ((MARKET.prices.reverse(), MARKET.news.reverse()), (MARKET.prices, MARKET.news))
    )
    assert data_hash(build(turned.prices, turned.news)[0]) == data_hash(build(straight.prices, straight.news)[0])


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
