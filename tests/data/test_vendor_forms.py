"""Tables as vendors and tools write them: numbers and dates come out as they are, or one message says what to do."""

import json
import shlex
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.exchanges import symbol_calendar
from flag_kedro.data.files import FilesConfig, read_files
from flag_kedro.data.files.news import ReadNews, read_news
from flag_kedro.data.files.parsing import likely_column
from flag_kedro.data.files.times import read_times
from flag_kedro.data.form import TableForm
from flag_kedro.data.source import Raw
from flag_kedro.errors import DataError, ParameterError

DAYS = (date(2024, 1, 31), date(2024, 2, 1))
STOOQ = """<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>
ACME.US,D,20240131,000000,10,12,9,11,1000,0
ACME.US,D,20240201,000000,11,13,10,12.5,2000,0
"""
NASDAQ = """Date,Close/Last,Volume,Open,High,Low
02/01/2024,$12.50,2000,$11.00,$13.00,$10.00
01/31/2024,$11.00,1000,$10.00,$12.00,$9.00
"""
INVESTING = """\ufeff"Date","Price","Open","High","Low","Vol.","Change %"
"02/01/2024","12.50","11.00","13.00","10.00","2.00K","13.64%"
"01/31/2024","11.00","10.00","12.00","9.00","1.00K","-1.20%"
"""
METATRADER = """<DATE>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\r
2024.01.31\t10\t12\t9\t11\t77\t1000\t2\r
2024.02.01\t11\t13\t10\t12.5\t88\t2000\t2\r
"""
TRADINGVIEW = """time,open,high,low,close,Volume
1706711400,10,12,9,11,1000
1706797800,11,13,10,12.5,2000
"""
POLYGON = """ticker,volume,open,close,high,low,window_start,transactions
ACME,1000,10,11,12,9,1706677200000000000,5
ACME,2000,11,12.5,13,10,1706763600000000000,6
"""
BLOOMBERG = """Security,ACME US Equity,,,,
Start Date,1/31/2024,,,,
,,,,,
Dates,PX_OPEN,PX_HIGH,PX_LOW,PX_LAST,PX_VOLUME
1/31/2024,10,12,9,11,1000
2/1/2024,11,13,10,12.5,2000
"""
BINANCE = """1706659200000,10,12,9,11,1000,1706745599999,11000,5,600,6000,0
1706745600000,11,13,10,12.5,2000,1706831999999,25000,6,900,9000,0
"""
GERMAN = """Datum;Eröffnung;Hoch;Tief;Schluss;Stück
31.01.2024;10,00;12,00;9,00;11,00;1.000
01.02.2024;11,00;13,00;10,00;12,50;2.000
"""
ALPHA_VANTAGE = {
    "Meta Data": {"2. Symbol": "ACME"},
    "Time Series (Daily)": {
        "2024-02-01": {"1. open": "11", "2. high": "13", "3. low": "10", "4. close": "12.5", "5. volume": "2000"},
        "2024-01-31": {"1. open": "10", "2. high": "12", "3. low": "9", "4. close": "11", "5. volume": "1000"},
    },
}
NUMBERS = ("open", "high", "low", "close", "volume")
FORMS: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "Stooq": (STOOQ, ("<DATE>", "<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>", "<VOL>"), {"symbols": {"ACME": "ACME.US"}}),
    "Nasdaq": (NASDAQ, ("Date", "Open", "High", "Low", "Close/Last", "Volume"), {"date_format": "%m/%d/%Y"}),
    "Investing.com": (INVESTING, ("Date", "Open", "High", "Low", "Price", "Vol."), {"date_format": "%m/%d/%Y"}),
    "MetaTrader": (METATRADER, ("<DATE>", "<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>", "<VOL>"), {"separator": "tab"}),
    "TradingView": (TRADINGVIEW, ("time", "open", "high", "low", "close", "Volume"), {"epoch": "s"}),
    "Polygon": (POLYGON, ("window_start", *NUMBERS), {"epoch": "ns"}),
    "Bloomberg": (
        BLOOMBERG,
        ("Dates", "PX_OPEN", "PX_HIGH", "PX_LOW", "PX_LAST", "PX_VOLUME"),
        {"skip_rows": 3, "date_format": "%m/%d/%Y"},
    ),
    "German": (
        GERMAN,
        ("Datum", "Eröffnung", "Hoch", "Tief", "Schluss", "Stück"),
        {"separator": "semicolon", "decimal": "comma", "thousands": "point", "date_format": "%d.%m.%Y"},
    ),
}


def write(folder: Path, content: str, name: str = "ACME.csv") -> Path:
    (folder / name).write_bytes(content.encode())
    return folder / name


def read(path: Path, **given: Any) -> Raw:
    data = DataConfig(source="files", path=str(path))
    return read_files(data, FilesConfig(adjusted=True, **given), lambda symbol: symbol_calendar(symbol, data))


def articles(path: Path, max_left_out: float = 0.5, **given: Any) -> ReadNews:
    news = NewsConfig(source="files", path=str(path), **given)
    wanted = {"ACME", "BRK-B"}
    return read_news(news, wanted, lambda symbol: "XNYS", quarantine=False, max_left_out=max_left_out)


def refusal(path: Path, **given: Any) -> str:
    with pytest.raises(DataError) as error:
        read(path, **given)
    return str(error.value)


@pytest.mark.parametrize("form", FORMS)
def test_form_is_read_number_by_number(tmp_path, form):
    content, names, given = FORMS[form]
    columns = dict(zip(("session", *NUMBERS), names, strict=True))
    ticker = next((name for name in ("<TICKER>", "ticker") if name in content), None)
    raw = read(write(tmp_path, content), columns=columns | ({"symbol": ticker} if ticker else {}), **given)
    assert raw.prices.sort("session").select("symbol", "session", *NUMBERS).rows() == [
        ("ACME", DAYS[0], 10, 12, 9, 11, 1000),
        ("ACME", DAYS[1], 11, 13, 10, 12.5, 2000),
    ]
    assert raw.warnings == []


def test_klines_without_a_header_are_read_round_the_clock(tmp_path):
    columns = {"session": "column_1", "close": "column_5"}
    prices = read(write(tmp_path, BINANCE, "BTC-USD.csv"), columns=columns, header=False, epoch="ms").prices
    assert prices.select("session", "close").rows() == [(DAYS[0], 11), (DAYS[1], 12.5)]
    assert prices["available_at"][0] == datetime(2024, 2, 1, tzinfo=UTC)


def test_counts_in_two_units_are_told_from_each_other(tmp_path):
    write(tmp_path, "session,close\n1706659200000,1\n", "BTC-USD.csv")
    write(tmp_path, "session,close\n1735689600000000,1\n", "ETH-USD.csv")
    message = refusal(tmp_path, epoch="ms")
    assert "ETH-USD.csv row 2: session is '1735689600000000'" in message
    assert "counts in us, not in ms: set files.epoch=us; where files or rows differ in it" in message
    assert "BTC-USD" not in message


@pytest.mark.parametrize(
    ("columns", "name", "likely"),
    [
        (["Date", "4. close"], "close", "4. close"),
        (["Close2", "Close3", "Close"], "close", "Close"),
        (["Close2", "Close3"], "close", None),
        (["Open", "__index_level_0__"], "session", "__index_level_0__"),
        (["column_1", "Close"], "session", "column_1"),
        (["column_1", "column_2"], "session", None),
        (["PERMNO", "TICKER"], "symbol", "TICKER"),
        (["TIMESTAMP_UTC"], "published_at", "TIMESTAMP_UTC"),
    ],
)
def test_likely_columns_are_found_by_what_others_call_them(columns, name, likely):
    assert likely_column(name, columns) == likely


def test_columns_that_are_probably_ours_are_named_with_those_that_are_needed(tmp_path):
    path = write(tmp_path, "Date,Open,Close,Volume\n2024-01-31,10,11,1000\n")
    assert refusal(path).endswith(
        "files.columns.session=Date,files.columns.close=Close,files.columns.open=Open,files.columns.volume=Volume"
    )
    raw = read(path, columns={"session": "Date", "close": "Close"})
    assert raw.warnings == [
        "columns of 1 table(s) of prices are not read; to have them, set "
        "files.columns.open=Open,files.columns.volume=Volume"
    ]


def test_absent_column_that_nothing_resembles_is_named_too(tmp_path):
    message = refusal(write(tmp_path, "Date,ACME,BRIX\n2024-01-31,1,2\n"))
    assert message.endswith("Say which it is: files.columns.session=Date; name the column by files.columns.close")


@pytest.mark.parametrize("by_day", [False, True])
def test_symbols_in_a_column_that_nobody_named_are_not_one_symbol(tmp_path, by_day):
    rows = [f"{day},{price},1.2M,{name}" for name, price in (("ACME", 10), ("BRIX", 20)) for day in DAYS]
    rows = sorted(rows) if by_day else rows
    path = write(tmp_path, "\n".join(["session,close,Amount,Name", *rows]), "all_stocks_5yr.csv")
    message = refusal(path)
    assert "without a column of symbols all rows are about ALL_STOCKS_5YR" in message
    assert message.endswith("files.columns.symbol=Name")
    prices = read(path, columns={"symbol": "Name"}).prices
    assert sorted(prices.select("symbol", "close").unique().rows()) == [("ACME", 10), ("BRIX", 20)]


def test_column_of_words_beside_one_symbol_is_none_of_symbols(tmp_path):
    path = write(tmp_path, "session,close,Name\n2024-01-31,1,Acme Corp.\n2024-02-01,2,Acme Corp.\n")
    assert read(path).prices["symbol"].to_list() == ["ACME", "ACME"]


def test_corrected_rows_count_as_asked_whatever_else_they_say(tmp_path):
    rows = "2024-01-31,1,first\n2024-01-31,2,revised\n2024-02-01,3,first\n2024-02-01,4,revised\n"
    path = write(tmp_path, f"session,close,state\n{rows}")
    assert read(path, duplicates="last").prices["close"].to_list() == [2, 4]


def test_rows_wider_than_the_header_are_no_reason_to_leave_the_header_out(tmp_path):
    """Without it, 101,84 would be a close of 101 beside something else."""
    path = write(tmp_path, "session,close\n2024-01-31,101,84\n2024-02-01,102,10\n")
    message = refusal(path)
    assert "names 2 column(s) (session, close), but its rows have 3 fields (2024-01-31,101,84)" in message
    assert "skip_rows" not in message


def test_columns_without_a_name_are_called_by_their_place(tmp_path):
    path = write(tmp_path, ",close,,\n2024-01-31,11,,\n2024-02-01,12.5,,\n")
    prices = read(path, columns={"session": "column_1"}).prices
    assert prices.select("session", "close").rows() == [(DAYS[0], 11), (DAYS[1], 12.5)]


def test_remarks_with_as_many_separators_as_the_rows_are_left_out_by_number(tmp_path):
    assert refusal(write(tmp_path, BLOOMBERG)).endswith("files.skip_rows=3")
    assert refusal(write(tmp_path, "by us\n\n2024-01-31,1\n2024-02-01,1\n")).endswith("files.skip_rows=2")


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("20240131T160508Z", datetime(2024, 1, 31, 16, 5, 8, tzinfo=UTC)),
        ("20240131T1605-0500", datetime(2024, 1, 31, 21, 5, tzinfo=UTC)),
        ("20240131T250508Z", None),
        ("20240131T16050Z", None),
    ],
)
def test_times_of_iso_8601_may_lack_dashes_and_colons(text, instant):
    assert read_times(pl.Series([text]), "t", TableForm())["instant"][0] == instant


@pytest.mark.parametrize(
    ("text", "unit", "instant"),
    [
        ("1706717108.0", "s", datetime(2024, 1, 31, 16, 5, 8, tzinfo=UTC)),
        (" 1706717108.25 ", "s", datetime(2024, 1, 31, 16, 5, 8, 250_000, tzinfo=UTC)),
        ("1706717108000.0", "ms", datetime(2024, 1, 31, 16, 5, 8, tzinfo=UTC)),
        ("1706717108000.5", "ms", None),
        ("-100000000.5", "s", None),
    ],
)
def test_counts_of_seconds_may_have_fractions(text, unit, instant):
    assert read_times(pl.Series([text]), "t", TableForm(epoch=unit))["instant"][0] == instant


@pytest.mark.parametrize("written", ["%a, %d %b %Y %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%b %d, %Y %I:%M %p"])
def test_zones_by_name_are_read_once_left_out_as_the_message_says(tmp_path, written):
    """In winter and in summer time, which a name tells apart and a place knows."""
    winter, summer = datetime(2024, 1, 31, 11, 5), datetime(2024, 7, 31, 11, 5)
    rows = 'headline,published_at\nb,"{} EST"\na,"{} EDT"\n'.format(*(f"{day:{written}}" for day in (winter, summer)))
    with pytest.raises(DataError, match="EST at its end is no offset"):
        articles(write(tmp_path, rows))
    given = {} if written.startswith("%Y") else {"date_format": written}
    path = write(tmp_path, rows.replace(" EST", "").replace(" EDT", ""))
    read = articles(path, timezone="America/New_York", **given).table.sort("published_at")
    assert read["published_at"].to_list() == [
        datetime(2024, 1, 31, 16, 5, tzinfo=UTC),
        datetime(2024, 7, 31, 15, 5, tzinfo=UTC),
    ]


@pytest.mark.parametrize(
    ("column", "zone"), [("TIMESTAMP_UTC", "UTC"), ("gmt", "UTC"), ("outcome", "America/New_York")]
)
def test_zone_that_a_column_has_in_its_name_is_suggested(tmp_path, column, zone):
    path = write(tmp_path, f"headline,{column}\na,2024-01-31 16:05:08\n")
    with pytest.raises(DataError, match=f"news.timezone={zone}, or which it is"):
        articles(path, columns={"published_at": column})
    with pytest.raises(DataError, match=f"files.timezone={zone}$"):
        read(write(tmp_path, f"close,{column}\n1,2024-01-31 16:00:00\n"), columns={"session": column})


def test_array_of_json_is_a_table(tmp_path):
    rows = [{"session": str(DAYS[0]), "close": 11}, {"session": str(DAYS[1]), "close": 12.5, "volume": "2000"}]
    for text in (json.dumps(rows), "\ufeff" + json.dumps(rows, indent=2), "\n".join(map(json.dumps, rows)) + "\n\n"):
        prices = read(write(tmp_path, text, "ACME.json")).prices
        assert prices.select("session", "close", "volume").rows() == [(DAYS[0], 11, None), (DAYS[1], 12.5, 2000)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"ACME\.json is empty"),
        ("[]", r"ACME\.json is empty"),
        ("[1, 2]", r"ACME\.json is no array of JSON objects: '\[1, 2\]'"),
        ('[{"session": "2024-01-31", "cl', r"ACME\.json is not JSON: Unterminated string"),
        ('[{"session": "2024-01-31", "close": NaN}]', r"ACME\.json is not JSON: NaN is no number"),
        ('[{"session": "2024-01-31", "close": [1]}]', r"ACME\.json row 1: close is a list or an object"),
        ('[{"session": "2024-01-31", "close": "x"}]', r"ACME\.json row 1: close is 'x', where a number belongs"),
        ('{"close": {"2024-01-31": 1}}', r"one JSON object, .* to_json\(FILE, orient='records'\)"),
    ],
)
def test_broken_json_is_refused_by_name(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(write(tmp_path, text, "ACME.json"))


def test_array_that_is_called_lines_says_how_to_call_it(tmp_path):
    for text in ('[{"session": "2024-01-31", "close": 1}]', '[\n {"session": "2024-01-31", "close": 1}\n]'):
        message = refusal(write(tmp_path, text, "ACME.jsonl"))
        assert "line 1" in message
        assert message.endswith("end in .json")


def run_command(message: str) -> None:
    """Run what a message says behind its last colon, as a shell would."""
    command = message[message.index("python -c") :].replace("python", shlex.quote(sys.executable), 1)
    subprocess.run(command, shell=True, check=True)


def test_prices_by_day_in_one_object_are_read_once_written_as_the_message_says(tmp_path):
    path = write(tmp_path, json.dumps(ALPHA_VANTAGE, indent=4), "it's ACME.json")
    run_command(refusal(path))
    columns = {"open": "1. open", "high": "2. high", "low": "3. low", "close": "4. close", "volume": "5. volume"}
    prices = read(path.with_suffix(".jsonl"), columns=columns, symbols={"ACME": "it's ACME"}).prices
    assert prices.sort("session").select("symbol", "session", *NUMBERS).rows() == [
        ("ACME", DAYS[0], 10, 12, 9, 11, 1000),
        ("ACME", DAYS[1], 11, 13, 10, 12.5, 2000),
    ]


def test_prices_by_column_in_one_object_are_read_once_written_as_the_message_says(tmp_path):
    candles = {"c": [11, 12.5], "o": [10, 11], "t": [1706711400, 1706797800], "s": "ok"}
    path = write(tmp_path, json.dumps(candles), "ACME.json")
    run_command(refusal(path))
    prices = read(path.with_suffix(".jsonl"), columns={"session": "t", "close": "c", "open": "o"}, epoch="s").prices
    assert prices.select("session", "open", "close").rows() == [(DAYS[0], 10, 11), (DAYS[1], 11, 12.5)]


def test_articles_in_one_object_are_read_once_written_as_the_message_says(tmp_path):
    """The source is an object of its own, which nobody asked for."""
    article = {"source": {"id": None, "name": "Wire"}, "title": "Acme “rises”", "publishedAt": "2024-01-31T16:05:08Z"}
    path = write(tmp_path, json.dumps({"status": "ok", "articles": [article]}), "ACME.json")
    with pytest.raises(DataError) as error:
        articles(path)
    run_command(str(error.value))
    read = articles(path.with_suffix(".jsonl"), columns={"headline": "title", "published_at": "publishedAt"})
    assert read.table.select("headline", "published_at", "source").rows() == [
        ("Acme “rises”", datetime(2024, 1, 31, 16, 5, 8, tzinfo=UTC), None)
    ]
    assert read.warnings == ["news: source of 1 table(s) is not read, for it holds lists or objects"]
    with pytest.raises(DataError, match="source is a list or an object"):
        articles(
            path.with_suffix(".jsonl"),
            columns={"headline": "title", "published_at": "publishedAt", "source": "source"},
        )


@pytest.mark.parametrize(
    ("cell", "hint"),
    [
        ("ACME.US", "news.symbols.ACME=ACME.US"),
        ("XNYS:BRK.B", "news.symbols.BRK-B='XNYS:BRK.B'"),
        ("BRK-B.US", "news.symbols.BRK-B=BRK-B.US"),
        ("OTHER.US", None),
    ],
)
def test_symbols_with_an_exchange_are_found_again(tmp_path, cell, hint):
    path = write(tmp_path, f"published_at,headline,symbol\n2024-01-31,a,{cell}\n")
    with pytest.raises(DataError) as error:
        articles(path)
    assert (f"set {hint}." in str(error.value)) if hint else ("another spelling" not in str(error.value))


def test_table_of_news_without_a_column_of_symbols_says_whose_it_is(tmp_path):
    path = write(tmp_path, "published_at,headline,firm\n2024-01-31,a,ACME\n", "archive.csv")
    with pytest.raises(DataError, match=r"A table's name is its symbol unless news\.columns\.symbol names a column"):
        articles(path)
    assert articles(path, columns={"symbol": "firm"}).table["symbol"].to_list() == ["ACME"]


def test_folders_of_a_divided_table_say_the_symbol(tmp_path):
    for folder, close in (("symbol=ACME", 11.0), ("symbol=BTC%2FUSD", 12.5)):
        (tmp_path / folder).mkdir()
        pl.DataFrame({"session": [DAYS[0]], "close": [close]}).write_parquet(tmp_path / folder / "00000000.parquet")
    with pytest.raises(ParameterError, match=r"holds tables in folders; say which: data\.path=.*/\*/\*\.parquet$"):
        read(tmp_path)
    prices = read(tmp_path / "*" / "*.parquet", symbols={"BTC-USD": "BTC/USD"}).prices
    assert sorted(prices.select("symbol", "close").rows()) == [("ACME", 11), ("BTC-USD", 12.5)]


def test_days_that_a_spreadsheet_counts_are_refused(tmp_path):
    message = refusal(write(tmp_path, "session,close\n45322,11\n"))
    assert "session is '45322', where a session's date belongs" in message
    assert message.endswith("format its column as dates (yyyy-mm-dd) and save it again")


def test_text_with_another_name_and_spreadsheets_say_what_to_do(tmp_path):
    path = write(tmp_path, STOOQ, "acme.us.txt")
    for given in (path, tmp_path):
        with pytest.raises(ParameterError, match=r"acme\.us\.txt.* \(\.txt to \.csv\), save spreadsheets"):
            read(given)
