"""Inputs as they really arrive: each case writes one corrupt input, and says what its error must name."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from flag_kedro.data.calendar import exchange_sessions

SESSIONS = exchange_sessions("XNYS", date(2020, 9, 1), date(2020, 12, 31))["session"].to_list()
DAY = "2020-11-25"


@dataclass(frozen=True)
class Case:
    """One corrupt input."""

    name: str
    write: Callable[[Path], str]
    """Writes it into an empty folder and returns the parameters that read it."""
    named: tuple[str, ...]
    """What the error must say."""


Prices = list[dict[str, object]]


def rows(symbol: str = "ACME") -> Prices:
    """Sound prices of four months, in the columns that a vendor might use."""
    table = []
    for number, day in enumerate(SESSIONS):
        close = 100.0 + number % 7
        table.append(
            {
                "symbol": symbol,
                "session": day.isoformat(),
                "open": close,
                "high": close + 1,
                "low": close - 1,
                "close": close,
                "adj_close": close,
                "volume": 1000,
            }
        )
    return table


def csv_text(table: Prices) -> str:
    lines = [",".join(table[0]), *(",".join(str(value) for value in row.values()) for row in table)]
    return "\n".join(lines) + "\n"


def files(folder: Path, text: str | bytes | None = None, name: str = "prices.csv") -> str:
    """A file of prices, and the parameters that read the folder."""
    content = csv_text(rows()) if text is None else text
    (folder / "prices").mkdir(exist_ok=True)
    (folder / "prices" / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return f"data.source=files,data.path={folder / 'prices'}"


def on(day: str, **changes: object) -> str:
    """The sound prices with one row changed."""
    return csv_text([row | changes if row["session"] == day else row for row in rows()])


def from_day(day: str, factor: float) -> str:
    """The sound prices, multiplied from a day on."""
    scaled = ("open", "high", "low", "close", "adj_close")
    return csv_text(
        [
            row | {name: float(str(row[name])) * (factor if str(row["session"]) >= day else 1) for name in scaled}
            for row in rows()
        ]
    )


def articles(folder: Path, line: str | bytes, header: str = "symbol,published_at,headline", extra: str = "") -> str:
    """Sound prices, and a file of news with one corrupt article behind a sound one."""
    start = f"{header}\n".encode() + (
        b"ACME,2020-11-24T15:00:00Z,Acme opens a shop\n" if header.count(",") == 2 else b""
    )
    (folder / "news.csv").write_bytes(start + (line if isinstance(line, bytes) else line.encode()) + b"\n")
    return f"{files(folder)},news.source=files,news.path={folder / 'news.csv'}{extra}"


def bench(folder: Path, content: object = None, *, raw: str | bytes | None = None, extra: str = "") -> str:
    """A file of InvestorBench."""
    text = json.dumps(content) if raw is None else raw
    (folder / "acme.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return f"data.source=investorbench,data.path={folder},data.symbols=ACME{extra}"


def days(**changes: object) -> dict[str, object]:
    """Sound days of InvestorBench; keyword arguments change the entry of `DAY`."""
    entries: dict[str, object] = {str(row["session"]): {"prices": row["close"], "news": []} for row in rows()}
    if changes:
        entries[DAY] = {"prices": 100.0, "news": []} | changes
    return entries


def without(*names: str) -> dict[str, object]:
    return {day: entry for day, entry in days().items() if day not in names}


def universe(folder: Path, text: str) -> str:
    (folder / "universe.csv").write_text(text)
    return f"{files(folder)},data.universe={folder / 'universe.csv'}"


def truncated_parquet(folder: Path) -> str:
    whole = folder / "whole.parquet"
    pl.DataFrame(rows()).write_parquet(whole)
    return files(folder, whole.read_bytes()[:-200], "prices.parquet")


def shuffled() -> str:
    table = rows()
    table[10], table[30] = table[30], table[10]
    return csv_text(table)


BENCH = [
    Case("no JSON at all", lambda f: bench(f, raw="prices: 3"), ("acme.json",)),
    Case("JSON cut off", lambda f: bench(f, raw=json.dumps(days())[:-40]), ("acme.json",)),
    Case("a list of days", lambda f: bench(f, list(days().values())), ("acme.json",)),
    Case("no day", lambda f: bench(f, {}), ("acme.json",)),
    Case("bytes that are no text", lambda f: bench(f, raw=b"\xff\xfe\x00\x01"), ("acme.json",)),
    Case(
        "a key that is no date",
        lambda f: bench(f, days() | {"25 Nov 2020": {"prices": 1.0}}),
        ("acme.json", "25 Nov 2020"),
    ),
    Case(
        "a day given twice",
        lambda f: bench(f, raw='{"2020-11-25": {"prices": 1}, "2020-11-25": {"prices": 2}}'),
        (DAY,),
    ),
    Case("a price in words", lambda f: bench(f, days(prices="ten")), (DAY, "ten")),
    Case("a price that is true", lambda f: bench(f, days(prices=True)), (DAY, "True")),
    Case("a negative price", lambda f: bench(f, days(prices=-1.0)), ("ACME", DAY, "-1.0")),
    Case("a price of zero", lambda f: bench(f, days(prices=0)), ("ACME", DAY, "0.0")),
    Case("a price that is no number", lambda f: bench(f, days(prices=float("nan"))), ("acme.json", DAY)),
    Case("an infinite price", lambda f: bench(f, days(prices=float("inf"))), ("acme.json", DAY, "inf")),
    Case("news that are no list", lambda f: bench(f, days(news="Acme rises")), (DAY, "news")),
    Case("news that are no texts", lambda f: bench(f, days(news=[{"text": "Acme rises"}])), (DAY, "news")),
    Case(
        "a price on a Saturday", lambda f: bench(f, days() | {"2020-11-28": {"prices": 100.0}}), ("ACME", "2020-11-28")
    ),
    Case(
        "a hole of three sessions",
        lambda f: bench(f, without("2020-11-23", "2020-11-24", DAY)),
        ("2020-11-23", "3 sessions"),
    ),
    Case("a price ten times too high", lambda f: bench(f, days(prices=1000.0)), ("ACME", DAY, "data.max_jump")),
    Case("a session in the future", lambda f: bench(f, days() | {"2999-01-04": {"prices": 100.0}}), ("2999-01-04",)),
    Case("a symbol without a file", lambda f: bench(f, days()).replace("ACME", "ACNE"), ("ACNE", "ACME")),
    Case("a calendar nobody knows", lambda f: bench(f, days(), extra=",data.calendar=MOON"), ("data.calendar", "MOON")),
    Case(
        "a folder that is not there",
        lambda f: bench(f, days()).replace(str(f), str(f / "no")),
        ("data.path",),
    ),
]
FILES = [
    Case(
        "no close",
        lambda f: files(f, csv_text([{"session": r["session"], "adj_close": r["close"]} for r in rows()])),
        ("close",),
    ),
    Case(
        "no adjusted close",
        lambda f: files(f, csv_text([{"session": r["session"], "close": r["close"]} for r in rows()])),
        ("adj_close",),
    ),
    Case("a price in words", lambda f: files(f, on(DAY, close="n/a")), ("prices.csv", "close", "n/a")),
    Case("thousands set apart", lambda f: files(f, on(DAY, close='"1,234.5"')), ("prices.csv", "1,234.5")),
    Case("a ragged line", lambda f: files(f, csv_text(rows()) + "ACME,2021-01-04,1,2\n,,,,,,,,,,,\n"), ("prices.csv",)),
    Case("an empty file", lambda f: files(f, ""), ("prices.csv",)),
    Case("a header and no row", lambda f: files(f, "symbol,session,close,adj_close\n"), ("prices.csv",)),
    Case("no file in the folder", lambda f: files(f, "hello", "readme.txt"), ("data.path",)),
    Case("Parquet cut off", truncated_parquet, ("prices.parquet",)),
    Case("Parquet by name only", lambda f: files(f, csv_text(rows()), "prices.parquet"), ("prices.parquet",)),
    Case(
        "a line that is no JSON", lambda f: files(f, '{"symbol": "ACME", "session"', "prices.jsonl"), ("prices.jsonl",)
    ),
    Case(
        "another encoding",
        lambda f: files(f, csv_text(rows()).replace("ACME", "ACMÉ").encode("latin-1")),
        ("prices.csv",),
    ),
    Case(
        "a session given twice",
        lambda f: files(f, csv_text([*rows(), rows()[-1] | {"close": 101.5}])),
        ("ACME", "2020-12-31", "files.duplicates"),
    ),
    Case("rows in no order", lambda f: files(f, shuffled()), ("ACME", "order")),
    Case("a time without a zone", lambda f: files(f, on(DAY, session=f"{DAY} 15:30:00")), ("session",)),
    Case("days written 25/11/2020", lambda f: files(f, on(DAY, session="25/11/2020")), ("25/11/2020",)),
    Case("a high below the close", lambda f: files(f, on(DAY, high=1.0)), ("ACME", DAY, "high")),
    Case("a negative volume", lambda f: files(f, on(DAY, volume=-5)), ("ACME", DAY, "volume")),
    Case("an infinite price", lambda f: files(f, on(DAY, adj_close="inf")), ("ACME", DAY, "adj_close")),
    Case("a price that is no number", lambda f: files(f, on(DAY, close="NaN")), ("ACME", DAY, "close")),
    Case("no price where there must be one", lambda f: files(f, on(DAY, close="")), ("ACME", DAY, "close")),
    Case("a split that the adjustment lacks", lambda f: files(f, from_day(DAY, 0.25)), ("ACME", DAY, "split")),
    Case("dollars turned into cents", lambda f: files(f, from_day(DAY, 100.0)), ("ACME", DAY, "data.max_jump")),
    Case(
        "a row on Thanksgiving",
        lambda f: files(
            f, csv_text(sorted([*rows(), rows()[0] | {"session": "2020-11-26"}], key=lambda r: str(r["session"])))
        ),
        ("ACME", "2020-11-26"),
    ),
    Case(
        "a missing session",
        lambda f: files(f, csv_text([r for r in rows() if r["session"] != DAY])),
        ("ACME", DAY, "data.max_gap"),
    ),
    Case("a symbol nobody has", lambda f: files(f) + ",data.symbols=ACNE", ("ACNE", "ACME")),
    Case("no name for the symbol", lambda f: files(f, on(DAY, symbol="")), ("symbol",)),
    Case("a column mapped to nothing", lambda f: files(f) + ",files.columns.close=Last", ("Last",)),
    Case("a column nobody asked for", lambda f: files(f) + ",files.columns.vwap=close", ("vwap",)),
]
NEWS = [
    Case("no headline", lambda f: articles(f, "ACME,2020-11-25T15:00:00Z,"), ("ACME", DAY, "headline")),
    Case(
        "nothing but zero-width characters",
        lambda f: articles(f, "ACME,2020-11-25T15:00:00Z,\u200b\u202e\u200b"),
        ("ACME", DAY, "headline"),
    ),
    Case(
        "a headline of a megabyte",
        lambda f: articles(f, "ACME,2020-11-25T15:00:00Z," + "Buy " * 250_000),
        ("ACME", DAY, "headline"),
    ),
    Case("a time without a zone", lambda f: articles(f, "ACME,2020-11-25 15:00:00,Acme rises"), ("news.timezone",)),
    Case(
        "a zone nobody knows",
        lambda f: articles(f, "ACME,2020-11-25 15:00:00,Acme rises", extra=",news.timezone=Mars/Olympus"),
        ("Mars/Olympus",),
    ),
    Case("a day that may be in March or April", lambda f: articles(f, "ACME,03/04/2020,Acme rises"), ("03/04/2020",)),
    Case(
        "an article from the future", lambda f: articles(f, "ACME,2098-01-01T15:00:00Z,Acme rises"), ("ACME", "future")
    ),
    Case("no time of publication", lambda f: articles(f, "ACME,,Acme rises"), ("published_at",)),
    Case(
        "no column of headlines",
        lambda f: articles(f, "ACME,2020-11-25T15:00:00Z", "symbol,published_at"),
        ("headline",),
    ),
    Case("a quote that never ends", lambda f: articles(f, 'ACME,2020-11-25T15:00:00Z,"Acme rises'), ("news.csv",)),
    Case("bytes that are no text", lambda f: articles(f, b"ACME,2020-11-25T15:00:00Z,\xff\xfe\xfa"), ("news.csv",)),
    Case("no such file", lambda f: articles(f, "").replace("news.csv", "olds.csv"), ("olds.csv",)),
]
UNIVERSE = [
    Case("a day that is none", lambda f: universe(f, "symbol,first,last,delisted\nACME,soon,,\n"), ("line 2", "soon")),
    Case(
        "two memberships at once",
        lambda f: universe(f, "symbol,first,last,delisted\nACME,,,\nACME,2020-01-02,,\n"),
        ("ACME", "overlap"),
    ),
    Case("a column missing", lambda f: universe(f, "symbol,first\nACME,\n"), ("universe.csv", "delisted")),
    Case(
        "prices after the delisting",
        lambda f: universe(f, "symbol,first,last,delisted\nACME,,,2020-12-30\n"),
        ("ACME", "2020-12-31", "delisting"),
    ),
    Case(
        "prices that end before the delisting",
        lambda f: universe(f, "symbol,first,last,delisted\nACME,,,2021-01-05\n"),
        ("ACME", "2021-01-04"),
    ),
    Case("a member without prices", lambda f: universe(f, "symbol,first,last,delisted\nACME,,,\nGONE,,,\n"), ("GONE",)),
]
CASES = [
    Case(f"{group}: {case.name}", case.write, case.named)
    for group, cases in (("InvestorBench", BENCH), ("files", FILES), ("news", NEWS), ("universe", UNIVERSE))
    for case in cases
]
