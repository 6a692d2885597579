"""Prices from a user's own tables: what is read, and what each broken table says."""

import gzip
import json
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flag_kedro.data.config import DataConfig
from flag_kedro.data.files import FilesConfig, read_files
from flag_kedro.data.schema import PRICES
from flag_kedro.data.source import Raw
from flag_kedro.errors import DataError, ParameterError

YAHOO = {"session": "Date", "open": "Open", "high": "High", "low": "Low", "close": "Close", "volume": "Volume"} | {
    "adj_close": "Adj Close"
}
CSV = """Date,Open,High,Low,Close,Adj Close,Volume
2020-11-25,10,12,9,11,5.5,1000
2020-11-27,11,13,10,12,6,
2020-11-30,12,14,11,13,6.5,3000
"""
"""Around Thanksgiving; on the 27th the exchange closes at 13:00."""
TABLE = pl.DataFrame(
    {
        "session": [date(2020, 11, 25), date(2020, 11, 27), date(2020, 11, 30)],
        "close": [11.0, 12.0, 13.0],
        "adj_close": [5.5, 6.0, 6.5],
    }
)
PLAIN = TABLE.write_csv()


def read(path: Path, columns: dict[str, str] | None = None, symbols: str | None = None, **given: object) -> Raw:
    data = DataConfig(source="files", path=str(path), symbols=symbols)
    calendar = given.pop("calendar", "XNYS")
    return read_files(data, FilesConfig(columns=columns or {}, **given), lambda symbol: str(calendar))


def write(folder: Path, content: str | bytes, name: str = "acme.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def sessions_of(path: Path, session: str, **given: object) -> list[date]:
    path = write(path, f"session,close,adj_close\n{session},1,1\n")
    return read(path, **given).prices["session"].to_list()


def test_columns_of_yahoos_csv_become_ours(tmp_path):
    prices = read(write(tmp_path, CSV), YAHOO).prices
    assert dict(prices.schema) == PRICES
    assert prices.rows() == [
        ("ACME", date(2020, 11, 25), 10, 12, 9, 11, 1000, 5.5, datetime(2020, 11, 25, 21, tzinfo=UTC)),
        ("ACME", date(2020, 11, 27), 11, 13, 10, 12, None, 6.0, datetime(2020, 11, 27, 18, tzinfo=UTC)),
        ("ACME", date(2020, 11, 30), 12, 14, 11, 13, 3000, 6.5, datetime(2020, 11, 30, 21, tzinfo=UTC)),
    ]


def test_all_kinds_of_files_say_the_same(tmp_path):
    write(tmp_path, PLAIN, "a.csv")
    write(tmp_path, gzip.compress(PLAIN.encode()), "b.csv.gz")
    TABLE.write_parquet(tmp_path / "c.parquet")
    lines = [json.dumps({"session": str(row[0]), "close": row[1], "adj_close": row[2]}) for row in TABLE.rows()]
    write(tmp_path, "\n".join(lines), "d.jsonl")
    write(tmp_path, "\n\n".join(lines) + "\n", "e.ndjson")
    write(tmp_path, b"\xef\xbb\xbf" + PLAIN.replace("\n", "\r\n").encode(), "f.csv")
    write(tmp_path, "not a table", "README.md")
    prices = read(tmp_path).prices
    assert prices["symbol"].unique(maintain_order=True).to_list() == list("ABCDEF")
    for symbol in "BCDEF":
        of_symbol = prices.filter(pl.col("symbol") == symbol).with_columns(symbol=pl.lit("A"))
        assert_frame_equal(of_symbol, prices.filter(pl.col("symbol") == "A"))


def test_symbols_come_from_their_column_and_are_written_large(tmp_path):
    path = write(tmp_path, "Ticker,session,close,adj_close\nmsft,2020-11-25,1,1\n jnj ,2020-11-25,2,2\n")
    assert read(path, {"symbol": "Ticker"}).prices.select("symbol", "close").rows() == [("MSFT", 1), ("JNJ", 2)]
    assert read(path, {"symbol": "Ticker"}, symbols="JNJ").prices["symbol"].to_list() == ["JNJ"]


def test_a_symbol_may_be_spread_over_files(tmp_path):
    head, first, *rest = PLAIN.splitlines(keepends=True)
    for name, lines in (("old", [first]), ("new", rest)):
        rows = "".join(line.replace("2020", "MSFT,2020") for line in lines)
        write(tmp_path, f"symbol,{head}{rows}", f"{name}.csv")
    assert read(tmp_path).prices.sort("session")["close"].to_list() == [11.0, 12.0, 13.0]


def test_pattern_names_the_files(tmp_path):
    for name in ("msft_daily.csv", "msft_hourly.csv", "jnj_daily.csv"):
        write(tmp_path, "symbol," + PLAIN.replace("2020", f"{name[:4]},2020"), name)
    assert set(read(tmp_path / "*_daily.csv").prices["symbol"]) == {"MSFT", "JNJ_"}


def test_newest_first_is_fine(tmp_path):
    head, *rows = PLAIN.splitlines()
    assert read(write(tmp_path, "\n".join([head, *reversed(rows)]))).prices["close"].to_list() == [13.0, 12.0, 11.0]


def test_adjusted_close_needs_no_other(tmp_path):
    prices = read(write(tmp_path, "session,close\n2020-11-25,7\n"), adjusted=True).prices
    assert prices.select("close", "adj_close").row(0) == (7.0, 7.0)


def test_company_names_are_taken_over(tmp_path):
    assert read(write(tmp_path, PLAIN), names={"acme": "Acme"}).names == {"ACME": ("Acme",)}


def test_day_without_a_session_is_left_to_the_door(tmp_path):
    prices = read(write(tmp_path, "session,close,adj_close\n2020-11-26,1,1\n2020-11-27,-1,nan\n")).prices
    assert prices["available_at"].to_list() == [None, datetime(2020, 11, 27, 18, tzinfo=UTC)]


@pytest.mark.parametrize(
    "session",
    [
        "2020-11-25",
        "20201125",
        "2020/11/25",
        "2020-11-25 00:00:00",
        "2020-11-25T00:00",
        "2020-11-25 00:00:00-05:00",
        "2020-11-25 16:00:00-0500",
        "2020-11-25T21:00:00Z",
        "2020-11-25 21:00:00.000 UTC",
        "2020-11-25T14:30:00Z",
        "2020-11-26T06:00:00+09",
        "2020.11.25",
    ],
)
def test_session_is_the_date_in_new_york(tmp_path, session):
    assert sessions_of(tmp_path, session) == [date(2020, 11, 25)]


def test_times_with_zone_count_on_the_exchanges_own_date(tmp_path):
    assert sessions_of(tmp_path, "2020-11-25T15:00:00Z", calendar="XTKS") == [date(2020, 11, 26)]
    assert sessions_of(tmp_path, "2020-11-26T06:00:00Z", calendar="XTKS") == [date(2020, 11, 26)]
    assert sessions_of(tmp_path, "2020-11-25T00:00:00Z", calendar="24/7") == [date(2020, 11, 25)]


def test_parquet_times_with_zone_count_on_the_exchanges_own_date(tmp_path):
    zoned = TABLE.with_columns(pl.col("session").cast(pl.Datetime("ns")).dt.replace_time_zone("America/New_York"))
    zoned.write_parquet(tmp_path / "acme.parquet")
    assert read(tmp_path).prices["session"].to_list() == TABLE["session"].to_list()


def test_midnight_utc_is_not_taken_for_the_evening_before_in_new_york(tmp_path):
    """It would make each price known a day early."""
    with pytest.raises(
        DataError,
        match=r"acme\.csv row 2: session is '2020-11-25T00:00:00Z', midnight in another .* files\.stamps=date",
    ):
        sessions_of(tmp_path, "2020-11-25T00:00:00Z")


@pytest.mark.parametrize(
    ("session", "message"),
    [
        ("25/11/2020", r"where a session's date belongs, .*files\.date_format='%d/%m/%Y'$"),
        ("2020-13-25", "where a session's date belongs"),
        ("2020-02-30", "where a session's date belongs"),
        ("0020-11-25", "where a session's date belongs"),
        ("2020-11-25 25:00:00Z", "where a session's date belongs"),
        ("Nov 25, 2020", "where a session's date belongs"),
        ("2020-11-25 16:00:00", r"a time without its zone; .*files\.timezone=America/New_York"),
    ],
)
def test_session_that_is_no_date_is_refused_by_row_and_value(tmp_path, session, message):
    path = write(tmp_path, f'session,close,adj_close\n"{session}",1,1\n')
    with pytest.raises(DataError, match=rf"acme\.csv row 2: session is '{session}', {message}"):
        read(path)


@pytest.mark.parametrize("number", ["12 USD", "abc", "1_000", "--", "N/A"])
def test_text_where_a_number_belongs_is_refused_by_row_and_value(tmp_path, number):
    path = write(tmp_path, f'session,close,adj_close\n2020-11-25,1,1\n2020-11-27,"{number}",1\n')
    with pytest.raises(DataError) as error:
        read(path)
    assert f"acme.csv row 3: close is {number!r}, where a number belongs; write 1234.5" in str(error.value)


NO_TABLE = {
    "a.csv": ("", r"a\.csv is empty"),
    "b.csv": ("session,close,adj_close\n", r"b\.csv has columns but no row"),
    "c.csv": ("session,close,adj_close\n2020-11-25,1\n", r"c\.csv row 2 has 2 field\(s\) instead of 3"),
    "d.csv": ("session,close,adj_close\n2020-11-25,1,1,1\n", r"d\.csv row 2 has 4 field\(s\) instead of 3"),
    "e.csv": ("session;close;adj_close\n2020-11-25;1;1\n", r"e\.csv does not separate .*files\.separator=semicolon"),
    "f.csv": (b"session,close,adj_close\n2020-11-25,\xff,1\n", r"f\.csv .*UTF-8"),
    "g.csv": (PLAIN.encode("utf-16"), r"g\.csv is not UTF-8"),
    "h.csv": ('session,close,adj_close\n2020-11-25,1,"1\n', r"h\.csv has an odd number of quotation marks"),
    "i.csv": ("session,close,close\n2020-11-25,1,1\n", r"i\.csv has the column 'close' twice"),
    "j.csv": ("Date,Close,Adj Close\n2020-11-25,1,1\n", r"files\.columns\.session=Date,files\.columns\.close=Close"),
    "k.csv": ("session,close\n2020-11-25,1\n", r"k\.csv has no column adj_close; .*files\.adjusted=true"),
    "l.csv": ("session,close,adj_close\n,1,1\n", r"l\.csv row 2 has no session"),
    "m.csv": ("symbol,session,close,adj_close\n,2020-11-25,1,1\n", r"m\.csv row 2 has no symbol"),
    "n.csv": (
        "session,close,adj_close\n2020-11-25,1,1\n2020-11-30,1,1\n2020-11-27,1,1\n",
        r"n\.csv row 4: N 2020-11-27 is out of order",
    ),
    "o.csv.gz": (b"no gzip", r"o\.csv\.gz cannot be read as \.csv\.gz"),
    "p.csv.gz": (gzip.compress(PLAIN.encode() * 50)[:-20], r"p\.csv\.gz cannot be read as \.csv\.gz"),
    "q.parquet": (b"PAR1 and nothing else", r"q\.parquet cannot be read as \.parquet"),
    "r.parquet": (b"", r"r\.parquet cannot be read as \.parquet"),
    "s.jsonl": ('{"session": "2020-11-25", "close": 1, "adj_close": 1}\n{"session":\n', r"s\.jsonl line 2 is not JSON"),
    "t.jsonl": ("[1, 2]\n", r"t\.jsonl line 1 is no JSON object"),
    "u.jsonl": ("", r"u\.jsonl is empty"),
    "v.jsonl": ('{"session": "2020-11-25", "close": 1}\n', r"v\.jsonl has no column adj_close"),
    "x.csv": (
        'session,close,adj_close\n"2020-11-25,1,1\n2020-11-27,"1,1\n',
        r'x\.csv line 3: text after a closing .* \("',
    ),
    "y.csv": (
        'session,close,adj_close\n"2020-11-25,1,1\n2020-11-27",1,1\n',
        r"y\.csv row 2: session holds a line break",
    ),
    "z.jsonl": ('{"session": "2020-11-25", "close": [1], "adj_close": 1}\n', r"z\.jsonl line 1: close is a list or"),
    "w.jsonl": ('{"session": "2020-11-25", "close": true, "adj_close": 1}\n', r"w\.jsonl row 1: close is 'true'"),
}


GOOD_LINE = '{"session": "2020-11-25", "close": 1, "adj_close": 1}\n'


@pytest.mark.parametrize(
    "line", ['{"session": "2020-11-25", "close": NaN}', '{"close": 1e999}', "{} {}", '{"a": "\\x"}']
)
def test_broken_line_is_named_wherever_it_is(tmp_path, line):
    path = write(tmp_path, GOOD_LINE * 149 + line + "\n" + GOOD_LINE, "acme.jsonl")
    with pytest.raises(DataError, match=r"acme\.jsonl line 150 is not JSON"):
        read(path)


def test_broken_row_is_named_wherever_it_is(tmp_path):
    head, row, *_ = PLAIN.splitlines(keepends=True)
    path = write(tmp_path, head + row * 400_000 + "2020-11-25,1\n" + row)
    with pytest.raises(DataError, match=r"row 400002 has 2 field\(s\) instead of 3"):
        read(path)


def test_row_without_an_end_is_refused(tmp_path):
    path = write(tmp_path, 'session,close,adj_close\n2020-11-25,1,"' + "x" * 9_000_000 + '"\n')
    with pytest.raises(DataError, match="a row is longer than 4 MiB"):
        read(path)


@pytest.mark.parametrize("name", NO_TABLE)
def test_broken_table_is_refused_by_name(tmp_path, name):
    content, message = NO_TABLE[name]
    write(tmp_path, content, name)
    with pytest.raises(DataError, match=message):
        read(tmp_path / name)


def test_all_broken_tables_are_listed_at_once(tmp_path):
    for name in ("a.csv", "c.csv", "q.parquet", "s.jsonl"):
        write(tmp_path, NO_TABLE[name][0], name)
    write(tmp_path, PLAIN)
    with pytest.raises(DataError) as error:
        read(tmp_path)
    assert [line.split(" ")[0].rsplit("/")[-1] for line in str(error.value).splitlines()] == [
        "a.csv",
        "c.csv",
        "q.parquet",
        "s.jsonl",
    ]


def test_truncated_parquet_is_refused(tmp_path):
    TABLE.write_parquet(tmp_path / "acme.parquet")
    whole = (tmp_path / "acme.parquet").read_bytes()
    for end in (len(whole) // 3, len(whole) - 1):
        write(tmp_path, whole[:end], "acme.parquet")
        with pytest.raises(DataError, match=r"acme\.parquet cannot be read as \.parquet"):
            read(tmp_path)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("close", [[1.0]] * 3, "close is of type List.*where numbers belong"),
        ("close", [True] * 3, "close is of type Boolean, where numbers belong"),
        ("session", [20201125, 20201127, 20201130], "session is of type Int64, where dates or times belong"),
        ("session", [datetime(2020, 11, day, 16) for day in (25, 27, 30)], "a time without its zone"),
    ],
)
def test_parquet_column_of_another_type_is_refused(tmp_path, column, values, message):
    TABLE.with_columns(pl.Series(column, values)).write_parquet(tmp_path / "acme.parquet")
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_wanted_symbol_without_rows_names_what_there_is(tmp_path):
    write(tmp_path, PLAIN)
    write(tmp_path, "symbol," + PLAIN.replace("2020", "jnj,2020"), "more.csv")
    with pytest.raises(DataError, match=r"data\.symbols: no prices of MSFT in .*; there are ACME JNJ"):
        read(tmp_path, symbols="MSFT JNJ")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere", "neither a file nor a folder"),
        (".", "holds no table"),
        ("no.txt", "no.txt is no table"),
        ("*.txt", "no table"),
    ],
)
def test_path_without_a_table_is_refused(tmp_path, path, message):
    write(tmp_path, "text", "no.txt")
    with pytest.raises(ParameterError, match=rf"data\.path: .*{message}"):
        read(tmp_path / path)


def test_column_that_we_do_not_have_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"files\.columns: daytime is none of our columns \(session, close, adj_close"):
        read(write(tmp_path, PLAIN), {"daytime": "Date"})


def test_one_calendar_serves_all_symbols(tmp_path, monkeypatch):
    import exchange_calendars

    from flag_kedro.data.calendar import _decades, exchange_sessions

    exchange_sessions.cache_clear()
    _decades.cache_clear()
    built = []
    original = exchange_calendars.get_calendar
    monkeypatch.setattr(
        exchange_calendars, "get_calendar", lambda *args, **kwargs: (built.append(args), original(*args, **kwargs))[1]
    )
    for number in range(5):
        write(tmp_path, PLAIN if number else PLAIN.replace("2020", "2018").replace("11-25", "11-23"), f"s{number}.csv")
    read(tmp_path)
    assert len(built) == 1


def test_key_that_first_appears_late_in_json_lines_is_a_column(tmp_path):
    """Else the file's name would be the symbol of every row."""
    lines = [{"session": f"2020-11-{25 + number // 150}", "close": 1, "adj_close": 1} for number in range(200)]
    late = "\n".join(
        json.dumps(line | ({"symbol": "MSFT"} if number > 150 else {})) for number, line in enumerate(lines)
    )
    with pytest.raises(DataError, match=r"acme\.jsonl row 1 \(and 150 more\) has no symbol"):
        read(write(tmp_path, late, "acme.jsonl"))


def test_unreadable_rows_are_quarantined_as_they_came_if_asked_for(tmp_path):
    path = write(tmp_path, CSV.replace("10,12,9,11", 'ten,12,9,"1,1"').replace("2020-11-30", ""))
    data, files = DataConfig(source="files", path=str(path), quarantine=True), FilesConfig(columns=YAHOO)
    raw = read_files(data, files, lambda symbol: "XNYS")
    assert raw.prices["session"].to_list() == [date(2020, 11, 27)]
    rejected = raw.rejected.select("table", "row", "symbol", "at", "column", "value").rows()
    assert sorted(rejected, key=str) == [
        ("prices", 2, "ACME", "2020-11-25", "Close", "1,1"),
        ("prices", 2, "ACME", "2020-11-25", "Open", "ten"),
        ("prices", 4, "ACME", None, "Date", None),
    ]
    record = json.loads(raw.rejected.filter(pl.col("column") == "Open")["record"][0])
    assert (record["__table__"], record["Open"], record["Volume"]) == (str(path), "ten", "1000")


def test_times_that_the_whole_column_gets_wrong_are_refused_even_with_quarantine(tmp_path):
    path = write(tmp_path, "session,close,adj_close\n2020-11-25 16:00:00,1,1\n")
    data = DataConfig(source="files", path=str(path), quarantine=True)
    with pytest.raises(DataError, match="a time without its zone"):
        read_files(data, FilesConfig(), lambda symbol: "XNYS")


@pytest.mark.parametrize("dtype", [pl.Date, pl.Datetime("ms"), pl.Datetime("us", "UTC")])
def test_date_that_no_calendar_has_is_refused_like_any_other(tmp_path, dtype):
    """Damaged Parquet can hold days of which the libraries know no year."""
    wild = pl.Series([18_000 if dtype == pl.Date else 0, 2**31 - 1 if dtype == pl.Date else 2**62])
    table = pl.DataFrame(
        {"session": wild.cast(dtype, wrap_numerical=True), "close": [1.0, 1.0], "adj_close": [1.0, 1.0]}
    )
    table.write_parquet(tmp_path / "ACME.parquet")
    with pytest.raises(DataError, match=r"ACME\.parquet row 2: session is a time that no calendar has"):
        read(tmp_path / "ACME.parquet")


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_times_of_any_unit_are_read_from_parquet(tmp_path, unit):
    days = pl.Series([date(2020, 11, 24), date(2020, 11, 25)]).cast(pl.Datetime(unit))
    table = pl.DataFrame({"session": days, "close": [1.0, 2.0], "adj_close": [1.0, 2.0]})
    table.write_parquet(tmp_path / "ACME.parquet")
    assert read(tmp_path / "ACME.parquet").prices["session"].to_list() == [date(2020, 11, 24), date(2020, 11, 25)]
