"""Tables in the forms that tools write: what is set is read, what is not said is refused."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.exchanges import symbol_calendar
from flag_kedro.data.files import FilesConfig, read_files
from flag_kedro.data.files.news import ReadNews, read_news
from flag_kedro.data.files.numbers import read_numbers
from flag_kedro.data.files.times import read_times
from flag_kedro.data.form import TableForm
from flag_kedro.data.source import Raw
from flag_kedro.errors import DataError

YFINANCE = """Price,Close,High,Low,Open,Volume
Ticker,ACME,ACME,ACME,ACME,ACME
Date,,,,,
2020-11-25,10.0,12.0,9.0,11.0,1000
2020-11-27,10.5,12.0,9.0,11.0,1000
"""
NOON = datetime(2020, 1, 10, 13, 53, 20, tzinfo=UTC)
YFINANCE_COLUMNS = {name.lower(): name for name in ("Close", "High", "Low", "Open", "Volume")} | {"session": "Date"}


def write(folder: Path, content: str, name: str = "ACME.csv") -> Path:
    (folder / name).write_text(content)
    return folder / name


def read(path: Path, *, quarantine: bool = False, symbols: str | None = None, **given: Any) -> Raw:
    data = DataConfig(source="files", path=str(path), quarantine=quarantine, symbols=symbols)
    return read_files(data, FilesConfig(adjusted=True, **given), lambda symbol: symbol_calendar(symbol, data))


def articles(path: Path, *, quarantine: bool = False, max_left_out: float = 0.5, **given: Any) -> ReadNews:
    news = NewsConfig(source="files", path=str(path), **given)
    return read_news(news, {"ACME", "BRK-B"}, lambda symbol: "XNYS", quarantine=quarantine, max_left_out=max_left_out)


@pytest.mark.parametrize(
    ("text", "decimal", "thousands", "number"),
    [
        ("1,137.35", "point", "comma", 1137.35),
        ("12,34,567", "point", "comma", 1234567.0),
        ("1,5", "point", "comma", None),
        ("1,5", "point", None, None),
        ("95,81", "comma", None, 95.81),
        ("1.234,5", "comma", "point", 1234.5),
        ("95.81", "comma", "point", None),
        ("1 234,5", "comma", "blank", 1234.5),
        ("1\u202f234,5", "comma", "blank", 1234.5),
        ("1'234.5", "point", "apostrophe", 1234.5),
        ("$94.78", "point", None, 94.78),
        ("-$94.78", "point", None, -94.78),
        ("94.78 €", "point", None, 94.78),
        ("1.64M", "point", None, 1_640_000.0),
        ("3.5k", "point", None, 3500.0),
        ("2B", "point", None, 2e9),
        ("12 USD", "point", "comma", None),
    ],
)
def test_numbers_are_read_as_the_parameters_say(text, decimal, thousands, number):
    assert read_numbers(pl.Series([text]), "t", decimal, thousands)[0] == number


@pytest.mark.parametrize(
    ("text", "given", "wall", "instant"),
    [
        ("12/31/2020", {"date_format": "%m/%d/%Y"}, datetime(2020, 12, 31), None),
        ("31/12/2020", {"date_format": "%m/%d/%Y"}, None, None),
        ("12/31/20", {"date_format": "%m/%d/%Y"}, None, None),
        ("Dec 31, 2020", {"date_format": "%b %d %Y"}, datetime(2020, 12, 31), None),
        ("Dec 31, 2020", {"date_format": "%b %d, %Y"}, datetime(2020, 12, 31), None),
        ("12/31/2020 04:05 PM", {"date_format": "%m/%d/%Y %I:%M %p"}, datetime(2020, 12, 31, 16, 5), None),
        (
            "Fri, 10 Jan 2020 16:40:08 -0500",
            {"date_format": "%a, %d %b %Y %H:%M:%S %z"},
            datetime(2020, 1, 10, 16, 40, 8),
            datetime(2020, 1, 10, 21, 40, 8, tzinfo=UTC),
        ),
        (
            "Fri, 10 Jan 2020 16:40:08 GMT",
            {"date_format": "%a %d %b %Y %H:%M:%S %z"},
            datetime(2020, 1, 10, 16, 40, 8),
            datetime(2020, 1, 10, 16, 40, 8, tzinfo=UTC),
        ),
        ("Fri, 10 Jan 2020 16:40:08", {"date_format": "%a %d %b %Y %H:%M:%S %z"}, None, None),
        ("1578664400", {"epoch": "s"}, datetime(2020, 1, 10, 13, 53, 20), NOON),
        ("1578664400000", {"epoch": "s"}, None, None),
        ("1578664400", {"epoch": "ms"}, None, None),
        ("2020.01.10", {}, datetime(2020, 1, 10), None),
    ],
)
def test_times_are_read_as_the_parameters_say(text, given, wall, instant):
    times = read_times(pl.Series([text]), "t", TableForm(**given))
    assert times.select("wall", "instant").row(0) == (wall, instant)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("dtype", [pl.Int64, pl.Float64, pl.String])
def test_epochs_of_every_unit_and_type_are_the_same_time(unit, dtype):
    count = 1578664400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    times = read_times(pl.Series([count]).cast(dtype), "t", TableForm(epoch=unit))
    assert times["instant"][0] == NOON


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"date_format": "%m/%d"}, "does not say year, month and day"),
        ({"date_format": "MM/DD/YYYY"}, "does not say year, month and day"),
        ({"date_format": "%m/%d/%Y", "epoch": "s"}, "exclude each other"),
        ({"decimal": "comma", "thousands": "comma"}, "cannot both be comma"),
    ],
)
def test_form_that_cannot_be_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        FilesConfig(**given)


def test_header_of_three_lines_is_recognised(tmp_path):
    prices = read(write(tmp_path, YFINANCE, "download.csv"), columns=YFINANCE_COLUMNS).prices
    assert prices["symbol"].unique().to_list() == ["ACME"]
    assert prices.select("session", "close", "open").rows() == [
        (date(2020, 11, 25), 10.0, 11.0),
        (date(2020, 11, 27), 10.5, 11.0),
    ]


def test_row_below_a_header_of_three_lines_is_named_as_a_spreadsheet_does(tmp_path):
    path = write(tmp_path, YFINANCE.replace("10.5", "ten"))
    with pytest.raises(DataError, match=r"ACME\.csv row 5: Close is 'ten'"):
        read(path, columns=YFINANCE_COLUMNS)


def test_header_of_several_tickers_side_by_side_names_the_way_out(tmp_path):
    several = YFINANCE.replace("Ticker,ACME,ACME,ACME,ACME,ACME", "Ticker,ACME,BRK-B,ACME,BRK-B,ACME")
    with pytest.raises(DataError, match=r"2 tickers side by side \(ACME, BRK-B\); .*stack\(level='Ticker'"):
        read(write(tmp_path, several), columns=YFINANCE_COLUMNS)


def test_stacked_tickers_as_the_error_says_are_read(tmp_path):
    long = "Date,Ticker,Close\n2020-11-25,ACME,1\n2020-11-25,BRK-B,2\n2020-11-27,ACME,1\n2020-11-27,BRK-B,2\n"
    columns = {"session": "Date", "symbol": "Ticker", "close": "Close"}
    assert read(write(tmp_path, long), columns=columns).prices["symbol"].value_counts()["count"].to_list() == [2, 2]


def test_lines_before_and_after_the_rows_are_left_out_and_rows_keep_their_numbers(tmp_path):
    content = "a remark\nsession,close\n2020-11-25,1\n2020-11-27,{}\nthe end\n\n"
    prices = read(write(tmp_path, content.format(2)), skip_rows=1, skip_footer=1).prices
    assert prices["close"].to_list() == [1.0, 2.0]
    with pytest.raises(DataError, match=r"ACME\.csv row 4: close is 'two'"):
        read(write(tmp_path, content.format("two")), skip_rows=1, skip_footer=1)


def test_rows_without_a_header_have_columns_by_number(tmp_path):
    path = write(tmp_path, "2020-11-25,1\n2020-11-27,2\n")
    prices = read(path, header=False, columns={"session": "column_1", "close": "column_2"}).prices
    assert prices["close"].to_list() == [1.0, 2.0]


def test_rows_with_other_numbers_of_fields_are_quarantined_and_the_others_keep_their_numbers(tmp_path):
    path = write(tmp_path, "session,close\n2020-11-25,1\nthe page ends here\n2020-11-27,x\n2020-11-30,2\n1,2,3\n")
    raw = read(path, quarantine=True)
    assert raw.prices["close"].to_list() == [1.0, 2.0]
    assert raw.rejected.sort("row").select("row", "value", "rule").rows()[::2] == [
        (3, "the page ends here", "has 1 field(s) instead of 2"),
        (6, "1,2,3", "has 3 field(s) instead of 2"),
    ]
    assert raw.rejected.sort("row")["row"].to_list() == [3, 4, 6]


def test_form_of_csv_is_refused_for_other_tables(tmp_path):
    pl.DataFrame({"session": [date(2020, 11, 25)], "close": [1.0]}).write_parquet(tmp_path / "ACME.parquet")
    with pytest.raises(DataError, match=r"ACME\.parquet is no CSV, which files\.separator, files\.skip_rows"):
        read(tmp_path / "ACME.parquet", separator="tab", skip_rows=1)
    with pytest.raises(ValueError, match=r"news\.header is for news\.source=files"):
        NewsConfig(source="huggingface", path="x", header=False)


@pytest.mark.parametrize("stamp", ["2020-11-25T05:00Z", "2020-11-25T14:30Z", "2020-11-25T21:00Z"])
def test_stamp_is_the_session_that_it_opens_or_closes_or_the_date_that_begins(tmp_path, stamp):
    assert read(write(tmp_path, f"session,close\n{stamp},1\n")).prices["session"].to_list() == [date(2020, 11, 25)]


def test_usual_hour_counts_on_a_day_that_closes_early(tmp_path):
    """New York closed at 18:00 UTC on the day after Thanksgiving."""
    for stamp in ("2020-11-27T18:00Z", "2020-11-27T21:00Z"):
        rows = f"session,close\n2020-11-25T21:00Z,1\n{stamp},1\n2020-11-30T21:00Z,1\n"
        assert read(write(tmp_path, rows)).prices["session"][1] == date(2020, 11, 27)


@pytest.mark.parametrize("stamp", ["2020-11-25T06:00Z", "2020-11-25T16:00Z", "2020-11-26T03:00Z"])
@pytest.mark.parametrize("stamps", ["session", "date"])
def test_bar_that_is_not_the_session_is_refused(tmp_path, stamp, stamps):
    with pytest.raises(DataError, match=r"neither open nor close of a session of XNYS .*Bring bars of whole"):
        read(write(tmp_path, f"session,close\n{stamp},1\n"), stamps=stamps)


def test_bar_of_crypto_that_begins_within_the_day_is_refused(tmp_path):
    """A day from 06:00 to 06:00 UTC would be known six hours before it ends."""
    rows = "session,close\n2020-11-25 06:00:00+00:00,1\n2020-11-26 06:00:00+00:00,1\n"
    with pytest.raises(DataError, match=r"BTC\.csv row 2 \(and 1 more\): .*25 00:00 UTC to 2020-11-26 00:00 UTC"):
        read(write(tmp_path, rows, "BTC.csv"))


def test_midnight_west_of_the_market_is_no_date_where_sessions_touch(tmp_path):
    rows = "session,close\n2020-11-25 00:00:00-06:00,1\n"
    with pytest.raises(DataError, match="neither open nor close of a session of 24/7"):
        read(write(tmp_path, rows, "BTC.csv"), stamps="date")


def test_midnight_utc_is_the_date_as_written_if_asked_for(tmp_path):
    rows = "session,close\n2020-11-25T00:00:00.000Z,1\n2020-11-27T00:00:00.000Z,1\n"
    days = read(write(tmp_path, rows), stamps="date").prices["session"].to_list()
    assert days == [date(2020, 11, 25), date(2020, 11, 27)]


def test_several_bars_of_a_day_are_called_so(tmp_path):
    rows = "session,close\n" + "".join(f"2020-11-25 {hour}:30:00-05:00,1\n" for hour in (10, 11, 12))
    with pytest.raises(DataError, match=r"row 2 \(and 2 more\): .*one of several bars of a day"):
        read(write(tmp_path, rows))


def test_equal_rows_count_once_and_are_counted_also_across_files(tmp_path):
    for name, days in (("a.csv", (25, 27, 27)), ("b.csv", (27, 30))):
        write(tmp_path, "symbol,session,close\n" + "".join(f"ACME,2020-11-{day},1\n" for day in days), name)
    for quarantine in (False, True):
        raw = read(tmp_path, quarantine=quarantine)
        assert [day.day for day in raw.prices["session"]] == [25, 27, 30]
        assert raw.report["files"]["equal_rows"] == 2
        assert raw.warnings == ["2 row(s) of prices that equal another one count once"]


@pytest.mark.parametrize("quarantine", [False, True])
def test_rows_that_differ_are_named_by_file_and_row_and_never_both_left_out(tmp_path, quarantine):
    first = write(tmp_path, "symbol,session,close,volume\nACME,2020-11-25,1,10\n", "a.csv")
    second = write(tmp_path, "symbol,session,close,volume\nACME,2020-11-25,1,20\n", "b.csv")
    with pytest.raises(DataError) as error:
        read(tmp_path, quarantine=quarantine)
    assert f"ACME 2020-11-25: {first} row 2 (volume 10.0) and {second} row 2 (volume 20.0)" in str(error.value)
    for which, volume in (("first", 10.0), ("last", 20.0)):
        raw = read(tmp_path, quarantine=quarantine, duplicates=which)
        assert raw.prices["volume"].to_list() == [volume]
        assert raw.report["files"]["differing_rows"] == 1


@pytest.mark.parametrize("chosen", [None, "BTC-USD"])
def test_symbols_are_called_as_asked(tmp_path, chosen):
    path = write(tmp_path, "symbol,session,close\nbtc/usd,2020-11-25,1\n")
    data = DataConfig(source="files", path=str(path), symbols=chosen)
    files = FilesConfig(adjusted=True, symbols={"BTC-USD": "BTC/USD"})
    prices = read_files(data, files, lambda symbol: symbol_calendar(symbol, data)).prices
    assert prices.select("symbol", "available_at").row(0) == ("BTC-USD", datetime(2020, 11, 26, tzinfo=UTC))


def test_symbol_that_names_no_file_is_said_once_with_the_way_to_rename_it(tmp_path):
    rows = "symbol,session,close\n" + "".join(f"BTC/USD,2020-11-{day},1\n" for day in range(10, 30))
    with pytest.raises(DataError) as error:
        read(write(tmp_path, rows))
    assert str(error.value).endswith("files.symbols.BTC-USD=BTC/USD")
    assert "\n" not in str(error.value)


def test_file_that_is_called_otherwise_has_the_symbol_that_is_asked_for(tmp_path):
    path = write(tmp_path, "session,close\n2020-11-25,1\n", "btcusdt-1d.csv")
    files = FilesConfig(adjusted=True, symbols={"BTC-USD": "BTCUSDT-1d"})
    data = DataConfig(source="files", path=str(path))
    assert read_files(data, files, lambda symbol: "24/7").prices["symbol"].to_list() == ["BTC-USD"]


@pytest.mark.parametrize(("symbol", "number"), [("000001", 1), ("000010", 8), ("000010", 10)])
def test_leading_zeros_that_a_command_line_took_are_told(tmp_path, symbol, number):
    write(tmp_path, "session,close\n2020-11-25,1\n", f"{symbol}.csv")
    with pytest.raises(DataError, match=rf"no prices of {number} .* data\.symbols='{symbol}'$"):
        read(tmp_path, symbols=number)
    assert read(tmp_path, symbols=symbol).prices["symbol"].to_list() == [symbol]


@pytest.mark.parametrize("name", ["Symbol", "Ticker"])
def test_column_of_symbols_that_was_not_named_is_not_passed_over(tmp_path, name):
    path = write(tmp_path, f"{name},session,close\nACME,2020-11-25,1\n", "2020q4.csv")
    with pytest.raises(DataError, match=rf"files\.columns\.symbol={name}"):
        read(path)
    assert read(path, columns={"symbol": name}).prices["symbol"].to_list() == ["ACME"]


def test_every_symbol_of_a_list_has_the_article(tmp_path):
    rows = [
        '{"published_at": "2020-11-25T15:00Z", "headline": "a", "symbol": ["ACME", "BRK-B", "OTHER"]}',
        '{"published_at": "2020-11-25T16:00Z", "headline": "b", "symbol": "ACME"}',
        '{"published_at": "2020-11-25T16:00Z", "headline": "c", "symbol": []}',
    ]
    news = articles(write(tmp_path, "\n".join(rows), "news.jsonl"))
    assert sorted(news.table.select("symbol", "headline").rows()) == [("ACME", "a"), ("ACME", "b"), ("BRK-B", "a")]
    assert (news.facts["rows"], news.facts["rows_without_symbol"]) == (3, 1)


@pytest.mark.parametrize(
    ("cell", "separator"),
    [
        ("\"['ACME', 'BRK-B']\"", None),
        ('"[""ACME"", ""BRK-B""]"', None),
        ('"ACME, BRK-B"', "comma"),
        ("ACME;BRK-B", "semicolon"),
        ("ACME|BRK-B|ACME", "pipe"),
        ("acme brk-b", "blank"),
    ],
)
def test_several_symbols_in_a_text_are_divided(tmp_path, cell, separator):
    path = write(tmp_path, f"published_at,headline,symbol\n2020-11-25T15:00Z,a,{cell}\n")
    assert sorted(articles(path, symbol_separator=separator).table["symbol"]) == ["ACME", "BRK-B"]


def test_lists_in_parquet_are_divided(tmp_path):
    table = pl.DataFrame({"published_at": ["2020-11-25"], "headline": ["a"], "symbol": [["ACME", "BRK-B"]]})
    table.write_parquet(tmp_path / "news.parquet")
    assert sorted(articles(tmp_path / "news.parquet").table["symbol"]) == ["ACME", "BRK-B"]


def test_articles_that_are_left_out_are_counted_and_told_with_the_likely_reason(tmp_path):
    rows = "published_at,headline,symbol\n" + "2020-11-25,a,{}\n" * 4
    news = articles(write(tmp_path, rows.format("ACME", "ACME", "BRK.B", "")))
    assert news.facts["rows_of_other_symbols"] == 1
    assert news.facts["rows_without_symbol"] == 1
    assert news.facts["other_symbols"] == {"BRK.B": 1}
    (warning,) = news.warnings
    assert "2 of 4 row(s) are left out" in warning
    assert "'BRK.B' (1); 1 of them name no symbol" in warning
    assert "set news.symbols.BRK-B=BRK.B" in warning
    renamed = articles(write(tmp_path, rows.format("ACME", "ACME", "brk.b", "BRK-B")), symbols={"BRK-B": "BRK.B"})
    assert renamed.table["symbol"].value_counts()["count"].to_list() == [2, 2]


def test_more_than_half_of_the_articles_are_not_left_out_unless_asked_for(tmp_path):
    path = write(tmp_path, "published_at,headline,symbol\n2020-11-25,a,ACME\n" + "2020-11-25,a,ELSE\n" * 2)
    with pytest.raises(DataError, match=r"2 of 3 row\(s\) are left out, .*'ELSE' \(2\).* data\.max_left_out=1"):
        articles(path)
    assert articles(path, max_left_out=1.0).table.height == 1


def test_tables_that_are_left_out_are_counted(tmp_path):
    write(tmp_path, "published_at,headline\n2020-11-25,a\n", "ELSE.csv")
    with pytest.raises(DataError, match=r"1 table\(s\) are left out, for no symbol that has prices: ELSE"):
        articles(tmp_path)
    write(tmp_path, "published_at,headline\n2020-11-25,a\n", "ACME.csv")
    news = articles(tmp_path)
    assert news.facts["tables_of_other_symbols"] == 1
    assert news.warnings == ["news: 1 table(s) are left out, for no symbol that has prices: ELSE"]


def test_quoted_line_break_in_a_headline_is_fine(tmp_path):
    headline = "Acme, Inc. rises,\nwhile others, too, fall"
    rows = f'published_at,headline,symbol\n2020-11-25,"{headline}",ACME\n2020-11-26,b,ACME\n'
    assert articles(write(tmp_path, rows)).table["headline"].to_list() == [headline, "b"]


@pytest.mark.parametrize("order", [("published_at", "headline", "symbol"), ("headline", "symbol", "published_at")])
def test_stray_marks_that_swallow_rows_are_found_wherever_the_headline_stands(tmp_path, order):
    cells = [
        {"published_at": f"2020-11-{day}", "headline": {10: '"Story', 13: 'Story"'}.get(day, "Story"), "symbol": "ACME"}
        for day in range(10, 20)
    ]
    rows = "\n".join(",".join(cell[name] for name in order) for cell in cells)
    with pytest.raises(DataError, match=r"headline holds a line break, .* where another row begins"):
        articles(write(tmp_path, f"{','.join(order)}\n{rows}\n"))
