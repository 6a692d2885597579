"""Rules of prices and news: six sessions round Thanksgiving, one rule broken at a time."""

import json
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flag_kedro.data.calendar import exchange_sessions
from flag_kedro.data.rules import PriceRules
from flag_kedro.data.schema import NEWS, PRICES
from flag_kedro.data.validation import ValidatedTables, validate
from flag_kedro.errors import DataError

SESSIONS = exchange_sessions("XNYS", date(2020, 11, 23), date(2020, 12, 1))
NOW = datetime(2021, 1, 1, tzinfo=UTC)
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


def validated(
    prices: pl.DataFrame | None = None,
    news: pl.DataFrame | None = None,
    *,
    quarantine: bool = False,
    max_gap: int = 0,
    now: datetime = NOW,
) -> ValidatedTables:
    """Both tables, for ACME and BOLT, each of which has the sessions of that week."""
    prices = make_prices() if prices is None else prices

    def expect(prices: pl.DataFrame) -> pl.DataFrame:
        return prices.select("symbol").unique().join(SESSIONS, how="cross")

    rules = PriceRules(expect, now, {"ACME": max_gap, "BOLT": max_gap}, max_jump=0.5)
    return validate(prices, make_news().clear() if news is None else news, rules, quarantine=quarantine)


def refuse_prices(prices: pl.DataFrame, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        validated(prices, **options)
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
        validated(news=news)
    return str(caught.value)


def test_sound_prices_come_back_in_order_of_symbol_and_session():
    mixed = pl.concat([make_prices("BOLT"), make_prices("ACME")]).reverse()
    table = validated(mixed).prices
    assert table.select("symbol", "session").rows() == [(s, d) for s in ("ACME", "BOLT") for d in SESSIONS["session"]]
    assert dict(table.schema) == PRICES


def test_source_with_closes_only_is_accepted():
    bare = make_prices().with_columns(
        pl.lit(None, dtype=pl.Float64).alias(c) for c in ("open", "high", "low", "volume")
    )
    assert validated(bare).prices.equals(bare)


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
    assert validated(quiet).prices.equals(quiet)


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
    message = refuse_prices(pl.concat([negative, negative]))  # 24 rows: 24 volumes and 12 repeated sessions
    assert "36 violation(s)" in message
    assert message.count("\n") == 4
    assert "ACME 2020-11-23 (and 2020-11-24, 2020-11-25, 9 more): volume is -1.0" in message


def test_long_list_of_rules_is_cut_and_the_rest_counted():
    negative = pl.concat([make_prices(f"S{number}") for number in range(30)]).with_columns(volume=pl.lit(-1.0))
    assert refuse_prices(negative).endswith("... and 60 more")


@pytest.mark.parametrize("column", list(PRICES))
def test_missing_column_is_named(column):
    assert column in refuse_prices(make_prices().drop(column))


def test_column_nobody_asked_for_is_refused():
    assert "vwap" in refuse_prices(make_prices().with_columns(vwap=pl.lit(10.0)))


def test_prices_in_another_type_are_refused():
    assert "close is Float32" in refuse_prices(make_prices().with_columns(pl.col("close").cast(pl.Float32)))


@pytest.mark.parametrize("symbol", ["../ACME", "ACME/B", "", "acme", " ACME", ".ACME", "ACME\x00", "ACMÉ"])
def test_symbol_that_is_no_safe_file_name_is_refused(symbol):
    """Market states are a file each."""
    assert "symbol is" in refuse_prices(make_prices(symbol))


def test_row_without_a_session_is_refused():
    assert "ACME: session is None" in refuse_prices(on_wednesday(make_prices(), "session", None))


def test_sound_news_come_back_in_order_of_symbol_and_time():
    early, late = datetime(2020, 11, 24, 15, tzinfo=UTC), datetime(2020, 11, 25, 15, tzinfo=UTC)
    rows = [("BOLT", early), ("ACME", late), ("ACME", early)]
    news = pl.concat([make_news(symbol=s, published_at=early, available_at=t) for s, t in rows])
    ordered = validated(news=news).news.select("symbol", "available_at").rows()
    assert ordered == [("ACME", early), ("ACME", late), ("BOLT", early)]


@pytest.mark.parametrize("headline", ["", "   ", "\n\t", None])
def test_article_without_a_headline_is_refused(headline):
    message = refuse_news(make_news(headline=headline))
    assert "ACME 2020-11-25 15:00:00 UTC: headline is" in message


def test_headline_that_begins_with_white_space_has_a_text():
    assert validated(news=make_news(headline="\n Acme opens")).news.height == 1


def test_article_available_before_it_was_published_is_refused():
    message = refuse_news(make_news(available_at=datetime(2020, 11, 25, 14, 59, tzinfo=UTC)))
    assert "ACME 2020-11-25 15:00:00 UTC: available_at lies before published_at" in message


def test_all_broken_articles_are_listed_at_once():
    early = make_news(available_at=datetime(2020, 11, 24, 1, tzinfo=UTC))
    message = refuse_news(pl.concat([make_news(headline="", symbol="BOLT"), make_news(), early]))
    assert "2 violation(s)" in message
    assert "BOLT" in message
    assert "before published_at" in message


def test_no_news_at_all_is_sound():
    assert validated().news.is_empty()


def test_hole_as_long_as_allowed_is_let_in_and_a_longer_one_is_refused():
    without = make_prices().filter(~pl.col("session").is_in([WEDNESDAY, date(2020, 11, 27)]))
    assert validated(without, max_gap=2).prices.height == 4
    message = refuse_prices(without, max_gap=1)
    assert "ACME 2020-11-25: 2 sessions without a price, up to 2020-11-27; data.max_gap allows 1 in a row" in message


def test_two_holes_apart_are_two_violations():
    message = refuse_prices(make_prices().filter(~pl.col("session").is_in([WEDNESDAY, date(2020, 11, 30)])))
    assert "2 violation(s)" in message


def test_split_that_the_adjustment_lacks_is_refused():
    """Four for one on Wednesday: closes fall to a quarter for good."""
    later = pl.when(pl.col("session") >= WEDNESDAY).then(0.25).otherwise(1.0)
    message = refuse_prices(make_prices().with_columns(pl.col("adj_close") * later))
    assert "ACME 2020-11-25: a jump beyond data.max_jump; a split that adj_close lacks?" in message
    assert "0.25 times the price before" in message
    assert "1 violation(s)" in message
    assert "data.quarantine" not in message  # no single row is to blame


def test_price_may_halve_or_double_but_no_more():
    for factor, refused in ((0.5, False), (2.0, False), (0.499, True), (2.01, True)):
        later = pl.when(pl.col("session") >= WEDNESDAY).then(factor).otherwise(1.0)
        moved = make_prices().with_columns(pl.col("adj_close") * later)
        if refused:
            assert "a jump" in refuse_prices(moved)
        else:
            assert validated(moved).prices.height == 6


def test_symbols_that_stand_one_below_the_other_do_not_jump():
    cheap = make_prices("BOLT").with_columns(pl.col("adj_close") / 100)
    assert validated(pl.concat([make_prices(), cheap])).prices.height == 12


def test_wrong_price_of_one_day_is_told_from_a_split():
    message = refuse_prices(on_wednesday(make_prices(), "adj_close", 525.0))
    assert "ACME 2020-11-25: a jump that the next session takes back" in message
    assert "1 violation(s)" in message


def test_session_that_has_not_closed_yet_is_refused():
    message = refuse_prices(make_prices(), now=datetime(2020, 12, 1, 20, 59, tzinfo=UTC))
    assert "ACME 2020-12-01: the session has not closed yet" in message
    assert validated(now=datetime(2020, 12, 1, 21, tzinfo=UTC)).prices.height == 6


def test_article_from_the_future_is_refused():
    tomorrow = NOW + timedelta(days=1)
    assert "published_at lies in the future" in refuse_news(make_news(published_at=tomorrow, available_at=tomorrow))


def test_headline_of_a_megabyte_is_refused_without_being_printed():
    message = refuse_news(make_news(headline="A" * 1_000_000))
    assert "headline is A" in message
    assert len(message) < 500


@pytest.mark.parametrize("headline", ["\u200b\u200b", "\u202e", "...", "\x00\x07"])
def test_headline_without_a_letter_or_a_digit_says_nothing(headline):
    assert "rule a letter or a digit" in refuse_news(make_news(headline=headline))


def test_violations_of_both_tables_are_listed_together():
    with pytest.raises(DataError, match=r"^prices and news: 2 violation\(s\)") as caught:
        validated(on_wednesday(make_prices(), "volume", -1.0), make_news(headline=""))
    assert "data.quarantine=true" in str(caught.value)


def test_quarantine_lets_go_of_broken_rows_and_keeps_them_with_their_reason():
    broken = on_wednesday(make_prices(), "close", -1.0)
    tables = validated(broken, pl.concat([make_news(), make_news(headline="")]), quarantine=True, max_gap=1)
    assert tables.prices["session"].to_list() == [day for day in SESSIONS["session"] if day != WEDNESDAY]
    assert tables.news["headline"].to_list() == ["Acme opens a shop"]
    reasons = tables.rejected.select("table", "symbol", "at", "column", "value").rows()
    assert ("prices", "ACME", "2020-11-25", "close", "-1.0") in reasons
    assert [row[0] for row in reasons].count("news") == 1
    record = json.loads(tables.rejected.filter(pl.col("table") == "prices")["record"][0])
    assert record["open"] == 10.0
    assert record["close"] == -1.0


def test_quarantine_never_makes_a_hole_that_is_not_allowed():
    message = refuse_prices(on_wednesday(make_prices(), "close", -1.0), quarantine=True)
    assert "ACME 2020-11-25: a session without a price; data.max_gap allows 0 in a row" in message


def test_quarantine_leaves_the_first_of_equal_rows_of_a_session():
    prices = make_prices()
    doubled = pl.concat([prices, prices.filter(pl.col("session") == WEDNESDAY)])
    assert "ACME 2020-11-25: the session appears twice, in equal rows" in refuse_prices(doubled)
    tables = validated(doubled, quarantine=True)
    assert_frame_equal(tables.prices, prices)
    assert tables.rejected["row"].to_list() == [prices.height]


def test_quarantine_cannot_choose_between_two_prices_of_a_session():
    prices = make_prices()
    other = prices.filter(pl.col("session") == WEDNESDAY).with_columns(volume=pl.lit(1.0))
    with pytest.raises(DataError, match="ACME 2020-11-25: the session appears twice, in rows that differ"):
        validated(pl.concat([prices, other]), quarantine=True, max_gap=1)


@pytest.mark.parametrize("factor", [0.25, 9.0])
def test_jump_from_the_first_price_to_the_second_is_seen(factor):
    first = SESSIONS["session"][0]
    dear = pl.when(pl.col("session") == first).then(factor).otherwise(1.0)
    assert "1 violation(s)" in refuse_prices(make_prices().with_columns(pl.col("adj_close") * dear))


def test_jump_to_the_last_price_is_seen():
    last = SESSIONS["session"][-1]
    dear = pl.when(pl.col("session") == last).then(9.0).otherwise(1.0)
    assert "a jump" in refuse_prices(make_prices().with_columns(pl.col("adj_close") * dear))


def test_open_far_from_the_close_is_refused():
    """Decisions fill at it."""
    wild = make_prices().with_columns(high=pl.lit(200.0))
    assert "ACME 2020-11-25: open is farther from the close" in refuse_prices(on_wednesday(wild, "open", 105.0))


def test_close_in_other_units_is_refused_though_the_adjusted_one_is_right():
    wild = on_wednesday(make_prices(), "close", 1050.0)
    message = refuse_prices(
        on_wednesday(on_wednesday(on_wednesday(wild, "open", 1000.0), "high", 1100.0), "low", 900.0)
    )
    assert "ACME 2020-11-25: adj_close / close jumps and the next session takes it back" in message
    assert "1 violation(s)" in message


def test_unadjusted_closes_may_split():
    """Two for one on Wednesday: raw closes halve for good, the adjusted one goes on."""
    raw = pl.when(pl.col("session") >= WEDNESDAY).then(0.25).otherwise(1.0)
    split = make_prices().with_columns(pl.col("open", "high", "low", "close") * raw)
    assert validated(split).prices.height == 6


def test_quarantine_goes_on_until_no_row_breaks_a_rule():
    """Two spikes with a session between, whose row is sound."""
    spikes = pl.col("session").is_in([SESSIONS["session"][1], SESSIONS["session"][3]])
    wild = make_prices().with_columns(pl.col("adj_close") * pl.when(spikes).then(9.0).otherwise(1.0))
    assert "2 violation(s)" in refuse_prices(wild)
    tables = validated(wild, quarantine=True, max_gap=1)
    assert tables.prices["adj_close"].to_list() == [5.25] * 4
    assert tables.rejected.height == 2


def test_quarantined_edge_leaves_no_hole():
    prices = make_prices().with_columns(
        close=pl.when(pl.col("session") == SESSIONS["session"][0]).then(-1.0).otherwise("close")
    )

    def expect(prices: pl.DataFrame) -> pl.DataFrame:
        expected = SESSIONS.filter(pl.col("session") >= prices["session"].min())
        return prices.select("symbol").unique().join(expected, how="cross")

    tables = validate(prices, make_news().clear(), PriceRules(expect, NOW, {}, 0.5), quarantine=True)
    assert tables.prices["session"].to_list() == SESSIONS["session"].to_list()[1:]


def test_quarantine_is_not_advised_where_it_is_on():
    message = refuse_prices(make_prices().filter(pl.col("session") != WEDNESDAY), quarantine=True)
    assert "data.quarantine=true" not in message


def test_quarantine_never_takes_a_whole_symbol_in_silence():
    wrong = make_prices("BOLT").with_columns(volume=pl.lit(-1.0))
    assert "left no price of BOLT" in refuse_prices(pl.concat([make_prices(), wrong]), quarantine=True)


def test_nothing_is_rejected_where_nothing_is_wrong():
    assert validated(quarantine=True).rejected.is_empty()


def test_letting_in_twice_changes_nothing():
    once = validated(pl.concat([make_prices("BOLT"), make_prices()]).sample(fraction=1.0, shuffle=True, seed=1))
    assert validated(once.prices).prices.equals(once.prices)
