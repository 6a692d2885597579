"""From parameters to the two checked tables."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from flag_kedro.data.calendar import exchange_sessions
from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.exchanges import symbol_calendar
from flag_kedro.data.files import FilesConfig
from flag_kedro.data.market import Market, MarketConfig, load_market
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.errors import DataError, ParameterError

SHORT = SimulatedConfig(market="easy", first_session=date(2021, 1, 4), last_session=date(2021, 3, 31))
NOW = datetime(2026, 1, 2, tzinfo=UTC)
WEEK = {f"2020-11-{day}": {"prices": 100.0 + day, "news": [f"News of {day}"]} for day in (23, 24, 25, 27, 30)}


def table(days: list[date], close: float = 10.0) -> str:
    """A file of prices that are already adjusted."""
    return "\n".join(["session,close", *(f"{day},{close}" for day in days)]) + "\n"


def load_files(folder: Path, **data: object) -> Market:
    config = MarketConfig(
        DataConfig(source="files", path=str(folder), **data), NewsConfig(), SHORT, FilesConfig(adjusted=True)
    )
    return load_market(config, Path("none"), NOW)


def load(simulated: SimulatedConfig = SHORT, **data: object) -> tuple[pl.DataFrame, pl.DataFrame]:
    market = load_market(MarketConfig(DataConfig(**data), NewsConfig(), simulated), Path("none"), NOW)
    return market.prices, market.news


@pytest.fixture
def folder(tmp_path):
    for name in ("msft", "jnj"):
        (tmp_path / f"{name}.json").write_text(json.dumps(WEEK))
    crypto = {f"2020-11-{day}": {"prices": float(day), "news": []} for day in range(20, 30)}
    (tmp_path / "btc.json").write_text(json.dumps(crypto))
    return tmp_path


def test_simulated_market_passes_the_check_at_the_door():
    prices, news = load(symbols="FJRD ALDR")
    assert prices["symbol"].unique(maintain_order=True).to_list() == ["ALDR", "FJRD"]
    assert news["available_at"].to_list() == [
        time for symbol in ("ALDR", "FJRD") for time in sorted(news.filter(pl.col("symbol") == symbol)["available_at"])
    ]


def test_data_seed_draws_another_market():
    assert not load(seed=0)[0].equals(load(seed=1)[0])


def test_all_symbols_of_the_folder_are_read_when_none_are_named(folder):
    prices, news = load(source="investorbench", path=str(folder))
    assert prices.group_by("symbol", maintain_order=True).len().rows() == [("BTC", 10), ("JNJ", 5), ("MSFT", 5)]
    assert news.group_by("symbol", maintain_order=True).len().rows() == [("JNJ", 5), ("MSFT", 5)]


def test_symbols_may_be_written_small(folder):
    assert load(source="investorbench", path=str(folder), symbols="msft")[0]["symbol"].unique().to_list() == ["MSFT"]


def test_news_rule_reaches_the_articles(folder):
    data = DataConfig(source="investorbench", path=str(folder), symbols="MSFT")
    first = [
        load_market(MarketConfig(data, NewsConfig(date_only=rule), SHORT), Path("none"), NOW).news["available_at"][0]
        for rule in ("same_session", "next_session")
    ]
    assert [time.day for time in first] == [23, 24]


def test_path_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(ParameterError, match=r"data\.path: .*nowhere is not a folder"):
        load(source="investorbench", path=str(tmp_path / "nowhere"))


def test_session_missing_from_a_benchmark_file_is_skipped_and_told(folder):
    short = {day: entry for day, entry in WEEK.items() if day != "2020-11-24"}
    (folder / "msft.json").write_text(json.dumps(short))
    data = DataConfig(source="investorbench", path=str(folder))
    market = load_market(MarketConfig(data, NewsConfig(), SHORT), Path("none"), NOW)
    assert market.prices.filter(pl.col("symbol") == "MSFT")["session"].to_list() == [
        date.fromisoformat(d) for d in short
    ]
    assert market.report.symbols["MSFT"].num_gaps == 1
    assert "MSFT: 1 session(s) without a price are skipped" in market.report.warnings
    with pytest.raises(DataError, match=r"MSFT 2020-11-24: a session without a price; data\.max_gap allows 0"):
        load(source="investorbench", path=str(folder), max_gap=0)


def test_stock_under_a_calendar_that_never_closes_misses_its_weekend(folder):
    with pytest.raises(DataError, match="MSFT 2020-11-28: 2 sessions without a price, up to 2020-11-29"):
        load(source="investorbench", path=str(folder), symbols="MSFT", calendar="24/7")


def test_unknown_calendar_is_refused(folder):
    with pytest.raises(ParameterError, match=r"data\.calendar.*'MOON'"):
        load(source="investorbench", path=str(folder), calendar={"BTC": "MOON"})


def test_negative_price_in_a_file_is_refused_by_symbol_and_day(folder):
    (folder / "jnj.json").write_text(json.dumps(WEEK | {"2020-11-25": {"prices": -1, "news": []}}))
    with pytest.raises(DataError, match=r"JNJ 2020-11-25: close is -1\.0"):
        load(source="investorbench", path=str(folder))


@pytest.mark.parametrize(
    ("calendar", "expected"),
    [(None, ["XNYS", "24/7"]), ("XLON", ["XLON", "XLON"]), ({"MSFT": "XFRA"}, ["XFRA", "24/7"])],
)
def test_calendar_is_the_parameters_else_the_sources_own(calendar, expected):
    data = DataConfig(source="investorbench", path="somewhere", calendar=calendar)
    assert [symbol_calendar(symbol, data) for symbol in ("MSFT", "BTC")] == expected


def test_simulated_symbols_trade_in_new_york():
    assert symbol_calendar("ALDR", DataConfig()) == "XNYS"


def test_real_stocks_and_crypto_load_together(investorbench):
    prices, news = load(source="investorbench", path=str(investorbench))
    assert prices.group_by("symbol", maintain_order=True).len().rows() == [("BTC", 386), ("JNJ", 291), ("MSFT", 291)]
    assert set(news["symbol"]) == {"BTC", "JNJ", "MSFT"}


@pytest.mark.parametrize(
    ("symbol", "calendar"),
    [
        ("BTC-USD", "24/7"),
        ("BTC", "24/7"),
        ("0700.HK", "XHKG"),
        ("7203.T", "XTKS"),
        ("EURUSD=X", "24/5"),
        ("A", "XNYS"),
    ],
)
def test_calendar_of_files_is_that_of_the_symbol(symbol, calendar):
    assert symbol_calendar(symbol, DataConfig(source="files", path="somewhere")) == calendar


def test_files_of_several_exchanges_load_together(tmp_path):
    weekend = [date(2020, 11, day) for day in range(20, 25)]
    (tmp_path / "BTC-USD.csv").write_text(table(weekend))
    (tmp_path / "0700.HK.csv").write_text(table([day for day in weekend if day.weekday() < 5]))
    prices = load_files(tmp_path).prices
    assert prices.group_by("symbol", maintain_order=True).len().rows() == [("0700.HK", 3), ("BTC-USD", 5)]


@pytest.mark.parametrize("quarantine", [False, True])
def test_wrong_calendar_is_told_in_one_line_and_not_quarantined(tmp_path, quarantine):
    (tmp_path / "COIN.csv").write_text(table([date(2020, 11, day) for day in range(2, 30)]))
    with pytest.raises(DataError) as error:
        load_files(tmp_path, quarantine=quarantine)
    lines = str(error.value).splitlines()
    assert len(lines) == 2
    assert "COIN 2020-11-07 (and 2020-11-08, 2020-11-14, 6 more): is no session of XNYS" in lines[1]
    assert "data.calendar.COIN=24/7" in lines[1]
    assert "not_nullable" not in str(error.value)


def test_saturday_on_which_the_exchange_traded_is_a_session_if_said(tmp_path):
    days = [date(2020, 11, day) for day in (19, 20, 21, 23)]
    (tmp_path / "ACME.csv").write_text(table(days))
    with pytest.raises(DataError, match=r"ACME 2020-11-21: .* set data\.extra_sessions\.XNYS=2020-11-21"):
        load_files(tmp_path)
    market = load_files(tmp_path, extra_sessions={"XNYS": "2020-11-21"})
    assert market.prices["session"].to_list() == days
    assert market.report.symbols["ACME"].num_gaps == 0
    with pytest.raises(ParameterError, match=r"data\.extra_sessions names XLON, .* the calendars are XNYS"):
        load_files(tmp_path, extra_sessions={"XLON": "2020-11-21"})


def test_fall_before_a_delisting_is_let_in_for_its_symbol_alone(tmp_path):
    days = [date(2020, 11, day) for day in (19, 20, 23)]
    for symbol in ("GONE", "HELD"):
        (tmp_path / f"{symbol}.csv").write_text(table(days).replace("2020-11-23,10.0", "2020-11-23,0.0001"))
    with pytest.raises(DataError, match=r"HELD 2020-11-23: .*data\.max_jump\.HELD=0\.99999") as error:
        load_files(tmp_path, max_jump={"GONE": 0.999999})
    assert "GONE" not in str(error.value)


def test_symbol_of_which_quarantine_would_take_most_rows_is_named(tmp_path):
    days = [date(2020, 11, day) for day in (19, 20, 23)]
    broken = table(days).replace("2020-11-19,10.0", "2020-11-19,-1").replace("2020-11-20,10.0", "2020-11-20,ten")
    (tmp_path / "ACME.csv").write_text(broken)
    with pytest.raises(DataError, match=r"2 of 3 prices of ACME; .* set data\.max_left_out=1"):
        load_files(tmp_path, quarantine=True)
    market = load_files(tmp_path, quarantine=True, max_left_out=1.0)
    assert market.prices.height == 1
    assert market.rejected["row"].n_unique() == 2


def test_long_halt_is_told(tmp_path):
    days = exchange_sessions("XNYS", date(2020, 11, 2), date(2020, 11, 30))["session"].to_list()
    (tmp_path / "HALT.csv").write_text(table(days[:15]) + table(days[15:], 11.0).partition("\n")[2])
    told = "HALT: the close stands still for 15 sessions, from 2020-11-02 to 2020-11-20; a halt, or a stale source?"
    assert told in load_files(tmp_path).report.warnings
