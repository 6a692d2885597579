"""A market of files with all that is awkward: several symbols an article, duplicates, bad rows, odd names, zones."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from flag_kedro.data.calendar import exchange_sessions
from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.files import FilesConfig
from flag_kedro.data.streamed.ingest import StreamConfig

CALENDARS = {"ACME": "XNYS", "BRK-B": "XNYS", "0700.HK": "XHKG", "BTC-USD": "24/7", "EURUSD=X": "24/5", "Q": "XNYS"}
FIRST, LAST = date(2021, 10, 1), date(2023, 1, 13)
NOW = datetime(2023, 6, 1, tzinfo=UTC)
SYMBOLS = tuple(CALENDARS)
WORDS = ("profit", "rises", "falls", "contract", "probe", "dividend", "outlook", "upgrade", "chief", "plant")


def write_prices(folder: Path, last: date = LAST, seed: int = 0) -> Path:
    """Files of two symbols each, one row of them broken and one told twice."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    tables = []
    for symbol, calendar in CALENDARS.items():
        days = exchange_sessions(calendar, FIRST, LAST)["session"]
        close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, len(days))))
        table = pl.DataFrame({"symbol": symbol, "session": days, "close": close, "adj_close": close})
        volume = pl.Series(rng.integers(1000, 9000, len(days)).astype(float))
        table = table.with_columns(open=pl.col("close") * 1.001, high=pl.col("close") * 1.01, volume=volume)
        tables.append(table.filter(pl.col("session") <= last))
    for number in range(0, len(tables), 2):
        table = pl.concat(tables[number : number + 2])
        if number == 0:
            bad = (pl.col("symbol") == "ACME") & (pl.col("session") == date(2022, 5, 4))
            table = table.with_columns(high=pl.when(bad).then(pl.lit(-1.0)).otherwise("high"))
        if number == 2:
            table = pl.concat([table[:1], table])
        table.write_parquet(folder / f"prices_{number}.parquet", row_group_size=100)
    return folder


def articles(num: int = 600, seed: int = 1, first: date = date(2021, 9, 20), days: int = 490) -> pl.DataFrame:
    """Rows in the columns of FNSPID, some of them bad, in no order of time."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    names = [*SYMBOLS, "UNKNOWN", "acme", "ACME; BTC-USD", "BRK-B;NOBODY", "", None]
    for number in range(num):
        moment = datetime(first.year, first.month, first.day) + timedelta(minutes=int(rng.integers(0, days * 1440)))
        words = " ".join(rng.choice(WORDS, 4))
        row = {
            "Date": moment.strftime("%Y-%m-%d %H:%M:%S UTC"),
            "Article_title": f"{words} {number % 97}",
            "Stock_symbol": names[int(rng.integers(len(names)))],
            "Url": f"http://example.org/{number}",
            "Publisher": ["Reuters", None, "Benzinga"][number % 3],
            "Article": f"Body of {number}" if number % 5 == 0 else None,
        }
        if number % 7 == 0:
            row["Date"] = moment.strftime("%Y-%m-%d 00:00:00 UTC")
        if number % 11 == 0:
            row["Article_title"] = f"Acme <b>says</b> é – “{words}” &amp; more"
        rows.append(row)
        if number % 9 == 0:
            later = (moment + timedelta(hours=30)).strftime("%Y-%m-%d %H:%M:%S UTC")
            rows.append(row | {"Article_title": f"UPDATE 1-{row['Article_title']} - Reuters", "Date": later})
        if number % 50 == 3:
            bad = [{"Date": "soon"}, {"Article_title": "..."}, {"Date": "2023-12-01 10:00:00 UTC"}, {"Date": None}]
            rows.append(row | {"Stock_symbol": "ACME"} | bad[number // 50 % 4])
    daily = [date(2021, 12, 20) + timedelta(days=step) for step in range(25)]
    rows += [
        rows[0]
        | {"Date": f"{day} 15:00:00 UTC", "Article_title": "A story that returns daily", "Stock_symbol": "BRK-B"}
        for day in daily
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(rows[0], pl.String))


def write_news(folder: Path, table: pl.DataFrame | None = None, parts: int = 4) -> Path:
    """The articles in files of equal size."""
    folder.mkdir(parents=True, exist_ok=True)
    table = articles() if table is None else table
    size = -(-table.height // parts)
    for number in range(parts):
        table[number * size : (number + 1) * size].write_parquet(folder / f"news_{number}.parquet")
    return folder


def config_of(folder: Path, **given: Any) -> StreamConfig:
    """Parameters for files in `prices` and `news` below a folder."""
    data = {"quarantine": True, "max_gap": 1} | given.get("data", {})
    news = {"symbol_separator": "semicolon"} | given.get("news", {})
    return StreamConfig(
        DataConfig(source="files", path=str(folder / "prices"), **data),
        NewsConfig(path=str(folder / "news"), **({"source": "files"} | news)),
        FilesConfig(names={"ACME": "Acme", "BRK-B": "Berkshire"}, **given.get("files", {})),
    )
