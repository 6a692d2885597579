"""A user's own tables through the command line: read as the parameters say, or refused without a traceback."""

import json
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from flag_kedro.data.calendar import exchange_sessions

Kedro = Callable[..., "subprocess.CompletedProcess[str]"]
COLUMNS = "files.columns.session=Date,files.columns.close=Close,files.columns.adj_close=Adj Close"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Prices and articles of two symbols over twenty sessions."""
    days = exchange_sessions("XNYS", date(2020, 11, 2), date(2020, 11, 30))["session"]
    (tmp_path / "prices").mkdir()
    for symbol in ("MSFT", "JNJ"):
        closes = [100.0 + number for number in range(len(days))]
        table = pl.DataFrame({"Date": days, "Close": closes, "Adj Close": closes})
        table.write_csv(tmp_path / "prices" / f"{symbol}.csv")
    (tmp_path / "news.csv").write_text("Ticker,When,Title\nMSFT,2020-11-25 09:00,a\nMSFT,2020-11-25 10:00,UPDATE 1-A\n")
    return tmp_path


@pytest.mark.slow
def test_tables_are_read_as_the_command_line_says(kedro: Kedro, folder: Path):
    params = f"data.source=files,data.path={folder / 'prices'},{COLUMNS},files.names.MSFT=Microsoft"
    params += f",news.source=files,news.path={folder / 'news.csv'},news.timezone=America/New_York"
    params += ",news.columns.symbol=Ticker,news.columns.published_at=When,news.columns.headline=Title"
    kedro("run", "--pipelines=ingest", data_dir=folder / "data", params=params)
    prices = pl.read_parquet(folder / "data" / "02_intermediate" / "prices.parquet")
    assert prices.group_by("symbol", maintain_order=True).len().rows() == [("JNJ", 20), ("MSFT", 20)]
    report = json.loads((folder / "data" / "08_reporting" / "data_report.json").read_text())
    assert report["source"]["articles"] == {"MSFT": {"read": 2, "folded": 1, "kept": 1}}


@pytest.mark.slow
def test_broken_tables_are_listed_without_a_traceback_and_nothing_is_written(kedro: Kedro, folder: Path):
    (folder / "prices" / "MSFT.csv").write_text('Date,Close,Adj Close\n2020-11-25,"1,234.5",1\n')
    (folder / "prices" / "JNJ.csv").write_text("Date,Close,Adj Close\n2020-11-25,1\n")
    params = f"data.source=files,data.path={folder / 'prices'},{COLUMNS}"
    done = kedro("run", "--pipelines=ingest", data_dir=folder / "data", params=params, check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in said
    assert "row 2 has 2 field(s) instead of 3" in said
    assert "row 2: Close is '1,234.5', where a number belongs" in said
    assert not list((folder / "data").rglob("*.parquet"))
