"""InvestorBench's files: a hand-written one, and the real ones where they are."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.exchanges import benchmark_calendar
from flag_kedro.data.investorbench import (
    find_symbols,
    read_available,
    read_folder,
    read_investorbench,
)
from flag_kedro.data.schema import NEWS, PRICES
from flag_kedro.errors import DataError, ParameterError

DAYS = {
    "2020-11-27": {
        "prices": 101.5,
        "news": ["Acme opens a shop. It is large. (Sentiment: Positive)"],
        "10k": ["filing"],
    },
    "2020-11-25": {"prices": 100, "news": [], "10q": []},
    "2020-11-30": {"prices": 99.25, "news": ["Acme Corp. sues a U.S. rival! More follows.", "Second text"]},
}


def write(folder: Path, content: object, symbol: str = "acme") -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / f"{symbol}.json").write_text(text, encoding="utf-8")
    return folder


def read(folder: Path, calendar: str = "XNYS", date_only: str = "next_session") -> tuple[pl.DataFrame, pl.DataFrame]:
    return read_investorbench(folder, "ACME", calendar, date_only)


def headline_of(folder: Path, text: str) -> str:
    return read(write(folder, {"2020-11-30": {"prices": 1.0, "news": [text]}}))[1]["headline"].item()


def test_days_come_in_order_with_the_price_as_close_and_adjusted_close(tmp_path):
    prices, _ = read(write(tmp_path, DAYS))
    assert prices.select("symbol", "session", "close", "adj_close").rows() == [
        ("ACME", date(2020, 11, 25), 100.0, 100.0),
        ("ACME", date(2020, 11, 27), 101.5, 101.5),
        ("ACME", date(2020, 11, 30), 99.25, 99.25),
    ]
    assert dict(prices.schema) == PRICES


def test_open_high_low_and_volume_are_null(tmp_path):
    prices, _ = read(write(tmp_path, DAYS))
    assert prices.select("open", "high", "low", "volume").null_count().row(0) == (3, 3, 3, 3)


def test_price_is_available_at_the_close_early_closes_included(tmp_path):
    prices, _ = read(write(tmp_path, DAYS))
    assert prices["available_at"].dt.hour().to_list() == [21, 18, 21]


def test_articles_are_published_on_their_date_and_available_by_the_rule(tmp_path):
    write(tmp_path, DAYS)
    _, news = read(tmp_path)
    assert dict(news.schema) == NEWS
    assert news["published_at"].to_list()[:2] == [datetime(2020, 11, day, tzinfo=UTC) for day in (27, 30)]
    assert news["available_at"].to_list()[:2] == [
        datetime(2020, 11, 30, 14, 30, tzinfo=UTC),
        datetime(2020, 12, 1, 14, 30, tzinfo=UTC),
    ]
    _, news = read(tmp_path, date_only="same_session")
    assert news["available_at"].to_list()[:2] == [datetime(2020, 11, day, 14, 30, tzinfo=UTC) for day in (27, 30)]


def test_headline_is_the_first_sentence_with_the_sentiment_tag_and_the_body_the_whole_text(tmp_path):
    _, news = read(write(tmp_path, DAYS))
    assert news["headline"].to_list() == [
        "Acme opens a shop. (sentiment: positive)",
        "Acme Corp. sues a U.S. rival!",
        "Second text",
    ]
    assert news["body"][0] == DAYS["2020-11-27"]["news"][0]


@pytest.mark.parametrize(
    ("text", "headline"),
    [
        ("Microsoft Corp. has won. Then it rained.", "Microsoft Corp. has won."),
        ("The U.S. Army buys headsets. Many.", "The U.S. Army buys headsets."),
        ("Rescale Inc. and Dr. Who of Foo Co. met. Twice.", "Rescale Inc. and Dr. Who of Foo Co. met."),
        ("bitcoin vs. gold: who wins? nobody.", "bitcoin vs. gold: who wins?"),
        ("Up 3.5% today. Down tomorrow.", "Up 3.5% today."),
        ("Line one.\nLine two.", "Line one."),
        ("(Sentiment: negative) stays when it is not the end", "(Sentiment: negative) stays when it is not the end"),
        ("Fell ( sentiment : NEGATIVE ) ", "Fell (sentiment: negative)"),
    ],
)
def test_sentence_ends_at_its_full_stop_and_not_at_an_abbreviation(tmp_path, text, headline):
    assert headline_of(tmp_path, text) == headline


def test_long_sentence_is_cut_before_its_tag(tmp_path):
    headline = headline_of(tmp_path, "a" * 500 + " (Sentiment: neutral)")
    assert headline == "a" * 200 + " (sentiment: neutral)"


def test_symbol_without_news_has_an_empty_table(tmp_path):
    _, news = read(write(tmp_path, {"2020-11-30": {"prices": 1.0, "news": None}, "2020-12-01": {"prices": 1.0}}))
    assert news.is_empty()
    assert dict(news.schema) == NEWS


@pytest.mark.parametrize("price", ["101.5", True, [1.0], {}, float("nan"), 10**400])
def test_price_that_is_no_number_is_refused_by_file_and_day(tmp_path, price):
    days = DAYS | {"2020-11-27": {"prices": price, "news": []}}
    with pytest.raises(DataError, match=r"acme\.json: 2020-11-27 has the price .* where a number is expected"):
        read(write(tmp_path, days))


@pytest.mark.parametrize("day", [{"news": []}, 101.5, ["a"], None])
def test_day_that_says_nothing_of_a_price_is_refused(tmp_path, day):
    with pytest.raises(DataError, match=r"acme\.json: 2020-11-27 is .* where \{prices, news\} is expected; .* null"):
        read(write(tmp_path, DAYS | {"2020-11-27": day}))


def test_day_whose_price_is_null_is_left_out_and_keeps_its_articles(tmp_path):
    write(tmp_path, DAYS | {"2020-11-27": DAYS["2020-11-27"] | {"prices": None}})
    prices, news = read(tmp_path)
    assert prices["session"].to_list() == [date(2020, 11, 25), date(2020, 11, 30)]
    assert news["published_at"].dt.day().to_list() == [27, 30, 30]


def test_weekend_without_a_price_is_no_session_and_no_error(tmp_path):
    write(tmp_path, DAYS | {"2020-11-28": {"prices": None, "news": ["On a Saturday."]}})
    prices, news = read(tmp_path)
    assert prices.height == 3
    saturday = news.filter(pl.col("headline") == "On a Saturday.")
    assert saturday["available_at"].item() == datetime(2020, 11, 30, 14, 30, tzinfo=UTC)


def test_sessions_without_a_price_are_counted(tmp_path):
    """25, 27 and 30 November are sessions, and so is the 24th, on which the price is null."""
    days = DAYS | {"2020-11-23": {"prices": 99.0}, "2020-11-24": {"prices": None}, "2020-12-01": {"prices": None}}
    data = DataConfig(source="investorbench", path=str(write(tmp_path, days)))
    raw = read_folder(data, NewsConfig(), lambda symbol: "XNYS")
    assert raw.report["investorbench"] == {"sessions_without_price": {"ACME": 1}, "filing_summaries": 1}


def test_file_with_null_prices_only_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"acme\.json holds no price"):
        read(write(tmp_path, {"2020-11-30": {"prices": None, "news": ["a"]}}))


@pytest.mark.parametrize("key", ["2020-11-25", "prices"])
def test_key_given_twice_is_refused(tmp_path, key):
    repeated = json.dumps(DAYS).replace('"2020-11-27"', '"2020-11-25"')
    text = repeated if key != "prices" else '{"2020-11-25": {"prices": 1, "prices": 2}}'
    with pytest.raises(DataError, match=rf"acme\.json is not InvestorBench JSON.*: the key '{key}' appears twice"):
        read(write(tmp_path, text))


@pytest.mark.parametrize("day", ["20201125", "2020-W48-3", "25/11/2020", "0001-01-01", "2020-11-25T00:00"])
def test_date_that_is_not_written_as_such_is_refused(tmp_path, day):
    with pytest.raises(DataError, match=r"acme\.json is not InvestorBench JSON"):
        read(write(tmp_path, {day: {"prices": 1.0}}))


def test_filing_summaries_become_articles_on_their_date(tmp_path):
    intro = (
        "The Form 10-Q for Acme reveals several insights:\n\n1. **Sales**: up 8% in the U.S. market. More.\n2. Cash."
    )
    days = DAYS | {"2020-11-25": {"prices": 100, "news": [], "10k": None, "10q": [intro, "Cash fell. A lot."]}}
    _, news = read_investorbench(write(tmp_path, days), "ACME", "XNYS", "next_session", filings=True)
    filed = news.filter(pl.col("source") != "investorbench")
    assert filed.select("source", "headline").rows() == [
        ("investorbench 10-Q", "10-Q summary: Sales: up 8% in the U.S. market."),
        ("investorbench 10-Q", "10-Q summary: Cash fell."),
        ("investorbench 10-K", "10-K summary: filing"),
    ]
    assert filed["body"][0] == intro
    assert filed["available_at"][0] == datetime(2020, 11, 27, 14, 30, tzinfo=UTC)  # the 26th is Thanksgiving


def test_filing_summaries_are_left_out_when_not_asked_for(tmp_path):
    assert set(read(write(tmp_path, DAYS))[1]["source"]) == {"investorbench"}


def test_known_companies_have_their_names(tmp_path):
    write(write(tmp_path, DAYS, "jnj"), DAYS, "acme")
    raw = read_folder(DataConfig(source="investorbench", path=str(tmp_path)), NewsConfig(), lambda symbol: "XNYS")
    assert raw.names == {"JNJ": ("Johnson & Johnson", "J&J")}


def test_real_filings_have_telling_headlines(investorbench):
    data = DataConfig(source="investorbench", path=str(investorbench))
    raw = read_folder(data, NewsConfig(), benchmark_calendar)
    assert raw.report["investorbench"] == {
        "sessions_without_price": {"BTC": 0, "JNJ": 0, "MSFT": 0},
        "filing_summaries": 10,
    }
    headlines = raw.news.filter(pl.col("source") != "investorbench")["headline"]
    assert headlines.str.contains(r"^10-[KQ] summary: \w{3}").all()
    assert headlines.str.contains("sales|revenue|Sales|Revenue|segments").sum() == 10


@pytest.mark.parametrize("news", ["one text", [1, 2], {"a": "b"}, [None]])
def test_news_that_are_no_list_of_texts_are_refused_by_file_and_day(tmp_path, news):
    with pytest.raises(DataError, match=r"acme\.json: 2020-11-27 has news that is no list of texts"):
        read(write(tmp_path, DAYS | {"2020-11-27": {"prices": 1.0, "news": news}}))


def test_half_a_character_is_refused_by_file_and_day(tmp_path):
    with pytest.raises(DataError, match=r"acme\.json: 2020-11-30 has news with half a character"):
        read(write(tmp_path, {"2020-11-30": {"prices": 1.0, "news": ["\ud83d"]}}))


def test_missing_file_names_the_symbols_that_exist(tmp_path):
    write(tmp_path, DAYS, "jnj")
    write(tmp_path, DAYS, "btc")
    with pytest.raises(
        ParameterError, match=r"data\.symbols: no data for ACME: .*acme\.json does not exist; .* has BTC JNJ"
    ):
        read(tmp_path)


def test_empty_folder_says_what_belongs_there(tmp_path):
    with pytest.raises(ParameterError, match=r"data\.path: .* holds no InvestorBench file such as msft\.json"):
        find_symbols(tmp_path)


@pytest.mark.parametrize(
    "content",
    ['{"2020-11-25": {"prices": 1', "[1, 2]", '"text"', "3", "null", '{"someday": {"prices": 1.0}}', ""],
)
def test_file_that_is_not_in_the_benchmarks_shape_is_refused(tmp_path, content):
    with pytest.raises(DataError, match=r"acme\.json is not InvestorBench JSON"):
        read(write(tmp_path, content))


def test_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "acme.json").write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(DataError, match=r"acme\.json is not InvestorBench JSON"):
        read(tmp_path)


def test_file_without_a_day_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"acme\.json holds no day"):
        read(write(tmp_path, {}))


def test_price_on_a_weekend_is_refused_under_a_stock_exchange_and_fine_around_the_clock(tmp_path):
    write(tmp_path, DAYS | {"2020-11-28": {"prices": 100.0}, "2020-11-29": {"prices": 100.0}})
    with pytest.raises(
        DataError, match=r"ACME: prices on 2 day.* no session of XNYS, first 2020-11-28; .*data\.calendar"
    ):
        read(tmp_path)
    assert read(tmp_path, calendar="24/7")[0].height == 5


def test_stocks_trade_in_new_york_and_crypto_around_the_clock():
    assert [benchmark_calendar(symbol) for symbol in ("MSFT", "BTC", "ETH")] == ["XNYS", "24/7", "24/7"]


def test_symbols_are_the_names_of_the_files_in_alphabetical_order(tmp_path):
    for name in ("msft", "btc", "jnj"):
        write(tmp_path, DAYS, name)
    (tmp_path / "LICENSE").write_text("MIT")
    assert find_symbols(tmp_path) == ("BTC", "JNJ", "MSFT")


@pytest.mark.parametrize(
    ("symbol", "num_days", "first", "last"),
    [
        ("MSFT", 291, date(2020, 3, 12), date(2021, 5, 6)),
        ("JNJ", 291, date(2020, 3, 12), date(2021, 5, 6)),
        ("BTC", 386, date(2022, 11, 29), date(2023, 12, 19)),
    ],
)
def test_real_files_hold_the_published_days(investorbench, symbol, num_days, first, last):
    prices, news = read_investorbench(investorbench, symbol, benchmark_calendar(symbol), "next_session")
    assert (prices.height, prices["session"][0], prices["session"][-1]) == (num_days, first, last)
    assert not news.filter(pl.col("headline").str.strip_chars() == "").height
    assert (news["available_at"].dt.date() > news["published_at"].dt.date()).all()


def test_files_at_hand_are_read_and_the_rest_is_named(tmp_path):
    days = {day: DAYS[day] for day in ("2020-11-25", "2020-11-27", "2020-11-30")}
    prices, absent = read_available(write(tmp_path, days), ("ACME", "MSFT"))
    assert prices["ACME"]["close"].to_list() == [100.0, 101.5, 99.25]
    assert absent == ("MSFT",)


def test_file_at_hand_with_a_missing_session_is_refused(tmp_path):
    days = {day: DAYS[day] for day in ("2020-11-25", "2020-11-30")}
    with pytest.raises(DataError, match="ACME 2020-11-27: a session without a price"):
        read_available(write(tmp_path, days), ("ACME",))
