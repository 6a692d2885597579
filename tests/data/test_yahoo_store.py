"""The store: whole at any moment, one writer at a time, damage noticed."""

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from random import Random

import polars as pl
import pytest
from filelock import FileLock

from flag_kedro.data import atomic
from flag_kedro.data.config import NewsConfig
from flag_kedro.data.yahoo.store import load_store
from flag_kedro.errors import DataError, ParameterError
from yahoo_server import Company, article

CHILD = """
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.yahoo import YahooConfig, download_market
import flag_kedro.data.yahoo.client, flag_kedro.data.yahoo.update
url, store = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
yahoo = YahooConfig(first=date(2024, 1, 2), base_url=url, requests_per_second=1e6)
data = DataConfig(source="yahoo", symbols="AAPL MSFT NVDA", calendar="24/7")
download_market(data, NewsConfig(), yahoo, Path(store), datetime(2024, 3, 2, tzinfo=UTC))
"""
"""A download by a process of its own, which begins when it is told to."""


class Killed(BaseException):
    """Stands for the end of the process."""


def crash_at(monkeypatch, step: int) -> None:
    """Die before (even steps) or after (odd steps) one of the renames that put files in place."""
    replace, left = os.replace, [step]

    def dying_replace(source: Path, target: Path) -> None:
        if left[0] == 0:
            raise Killed
        replace(source, target)
        if left[0] == 1:
            raise Killed
        left[0] -= 2

    monkeypatch.setattr(atomic.os, "replace", dying_replace)


def test_crash_at_any_rename_loses_nothing_and_the_next_run_completes_as_if_undisturbed(
    download, tmp_path, monkeypatch
):
    run = download(Company("MSFT", splits={date(2024, 4, 4): 4.0}), news=NewsConfig())
    run.server.news["MSFT"] = [article(1, "2024-03-28T12:00:00Z")]
    run.run()
    old, run.server.today = run.store, date(2024, 4, 12)
    run.server.news["MSFT"] = [article(2, "2024-04-12T12:00:00Z")]
    run.store = tmp_path / "undisturbed"
    shutil.copytree(old, run.store)
    run.run()
    undisturbed, before = run.content(), pl.read_parquet(old / "prices" / "MSFT.parquet")
    assert sorted(undisturbed) == [
        "news/MSFT.parquet", "prices/MSFT.parquet", "revisions/MSFT-20240413T000000Z.parquet", "store.json",
    ]  # fmt: skip
    steps = 0
    while True:
        run.store = tmp_path / f"crashed-{steps}"
        shutil.copytree(old, run.store)
        with monkeypatch.context() as patched:
            crash_at(patched, steps)
            try:
                run.run()
            except Killed:
                pass
            else:
                break
        old_rows = pl.read_parquet(run.store / "prices" / "MSFT.parquet")
        revised = run.store / "revisions" / "MSFT-20240413T000000Z.parquet"
        assert old_rows.equals(before) or pl.read_parquet(revised).equals(before)
        run.run()
        assert run.content() == undisturbed, steps
        steps += 1
    assert steps == 2 * 7  # pending, revision, prices, manifest; pending, news, manifest


def test_interrupted_store_reads_as_it_was_or_as_it_became(download, monkeypatch):
    run = download("MSFT")
    run.run()
    run.server.today = date(2024, 4, 12)
    with monkeypatch.context() as patched:
        crash_at(patched, 3)  # the prices are in place, the manifest is not
        with pytest.raises(Killed):
            run.run()
    run.yahoo = {"offline": True}
    run.run()
    assert run.read().prices["session"][-1] == date(2024, 4, 12)
    assert run.content().keys() == {"prices/MSFT.parquet", "store.json"}


@pytest.mark.parametrize("begun", ["before the first download", "before the second"])
def test_reader_that_began_while_a_download_wrote_reads_what_it_wrote(download, begun):
    run = download("MSFT")
    if begun == "before the second":
        run.run()
        run.server.today = date(2024, 4, 12)
    reader = load_store(run.store)
    run.run()
    assert reader.read("MSFT", "prices").equals(pl.read_parquet(run.store / "prices" / "MSFT.parquet"))
    assert reader.entry("MSFT", "prices") == load_store(run.store).entry("MSFT", "prices")


@pytest.mark.parametrize("torn", ["", "{", "[]", "{}", '{"symbol": "MSFT", "kind": "prices", "entry": null}'])
def test_announcement_that_is_torn_is_said_with_the_way_out(download, torn):
    run = download("MSFT")
    run.run()
    before = run.content()
    pending = run.store / "pending.json"
    pending.write_text(torn)
    for action in (run.run, run.read):
        with pytest.raises(DataError, match=r"pending\.json does not say what was about to be written .*; remove it"):
            action()
    pending.unlink()
    run.run()
    assert run.content() == before


def test_revision_that_was_never_completed_leaves_no_rows_behind(download, monkeypatch):
    run = download("MSFT")
    run.run()
    before = run.content()
    run.server.companies["MSFT"].revised[date(2024, 3, 26)] = 1.25
    run.server.today = date(2024, 4, 1)
    with monkeypatch.context() as patched:
        crash_at(patched, 4)  # the old rows are in place, the new prices are not
        with pytest.raises(Killed):
            run.run()
    assert len(list((run.store / "revisions").iterdir())) == 1
    run.yahoo = {"offline": True, "last": date(2024, 3, 28)}
    run.run()
    assert run.content() == before


def test_what_killed_saves_left_behind_is_removed_and_nothing_else(download):
    run = download("MSFT")
    run.run()
    before = run.content()
    for name in ("store.json", "prices/MSFT.parquet", "revisions/GONE-20240101T000000Z.parquet"):
        path = run.store / name
        path.parent.mkdir(exist_ok=True)
        path.with_name(f".{path.name}.{'0f' * 16}").write_text("half")
    (run.store / ".kept").write_text("mine")
    run.run()
    assert run.content() == before | {".kept": b"mine"}


def start_child(server_url: str, store: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", CHILD, server_url, str(store)]
    environment = os.environ | {"HOME": str(store.parent / "home"), "XDG_CACHE_HOME": str(store.parent / "home")}
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def go(child: "subprocess.Popen[str]", kill_after: float) -> int:
    """Let the download begin and kill it after so many seconds; returns how it ended."""
    assert child.stdout.readline() == "ready\n"
    child.stdin.write("\n")
    child.stdin.flush()
    time.sleep(kill_after)
    child.kill()
    child.stdin.close()
    child.stdout.close()
    return child.wait(60)


@pytest.mark.parametrize("num_kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_download_killed_at_random_moments_goes_on_and_ends_as_if_undisturbed(download, tmp_path, num_kills):
    companies = [Company(symbol, calendar="24/7", timezone="UTC") for symbol in ("AAPL", "MSFT", "NVDA")]
    run = download(*companies, today=date(2024, 3, 1), news=NewsConfig(), data={"calendar": "24/7"})
    for symbol in run.symbols:
        run.server.news[symbol] = [article(n, "2024-03-01T12:00:00Z") for n in range(20)]
    killed = tmp_path / "killed"
    waiting = [start_child(run.server.url, killed)]
    run.run()
    undisturbed = run.content()
    run.store, rng, num_interrupted = killed, Random(num_kills), 0
    for n in range(num_kills):
        if n + 1 < num_kills:
            waiting.append(start_child(run.server.url, killed))
        go(waiting.pop(0), kill_after=rng.uniform(0.01, 0.1))
        for file in killed.rglob("[!.]*.*"):
            _ = json.loads(file.read_text()) if file.suffix == ".json" else pl.read_parquet(file)  # each is whole
        num_interrupted += run.content() != undisturbed
        if len(list(killed.rglob("*.parquet"))) == 6 or n + 1 == num_kills:
            run.run()
            assert run.content() == undisturbed
            assert [path.name for path in killed.rglob(".*")] == [".lock"]
            shutil.rmtree(killed)
    assert num_interrupted >= num_kills / 2
    assert not (tmp_path / "home").exists()  # yfinance keeps nothing there


def test_second_download_into_the_same_store_is_refused_at_once(download):
    run = download("MSFT")
    run.store.mkdir()
    with FileLock(run.store / ".lock"), pytest.raises(DataError, match=r"store: another download is writing to this"):
        run.run()
    assert run.server.asked == []


@pytest.mark.parametrize("kind", ["prices", "news"])
def test_file_that_was_changed_is_refused_on_reading_and_downloaded_anew_once_removed(download, kind):
    run = download("MSFT", news=NewsConfig())
    run.run()
    before = run.content()
    path = run.store / kind / "MSFT.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    for action in (run.run, run.read):
        with pytest.raises(
            DataError, match=rf"MSFT.*: .*{kind}/MSFT\.parquet was changed or damaged .* remove the file"
        ):
            action()
    path.unlink()
    run.run()
    assert run.content() == before


def test_manifest_that_was_lost_or_spoilt_is_said(download):
    run = download("MSFT")
    run.run()
    manifest = run.store / "store.json"
    manifest.write_text("{")
    with pytest.raises(DataError, match=r"store\.json is no list of what was downloaded .* bring a copy back"):
        run.run()
    manifest.unlink()
    with pytest.raises(DataError, match=r"knows nothing of .*prices/MSFT\.parquet; bring the store\.json back"):
        run.run()


@pytest.mark.parametrize("symbol", ["BRK-B", "BTC-USD", "^GSPC", "7203.T", "EURUSD=X"])
def test_unusual_symbols_are_asked_for_and_stored_by_their_name(download, symbol):
    calendars = {"BTC-USD": ("24/7", "UTC"), "7203.T": ("XTKS", "Asia/Tokyo"), "EURUSD=X": ("24/5", "Europe/London")}
    calendar, timezone = calendars.get(symbol, ("XNYS", "America/New_York"))
    run = download(Company(symbol, calendar=calendar, timezone=timezone, first=date(2024, 1, 4)))
    run.yahoo = {"first": date(2024, 1, 4)}
    run.run()
    assert list(run.content()) == [f"prices/{symbol}.parquet", "store.json"]
    assert run.read().prices["session"][-1] == date(2024, 3, 28)


@pytest.mark.parametrize("symbol", ["../MSFT", "A/B", "", ".MSFT", "MS FT", "MSFT*", "US5949181045"])
def test_what_cannot_be_a_symbol_is_refused(download, symbol):
    run = download("MSFT", symbols=(symbol,))
    with pytest.raises(ParameterError, match=r"data\.symbols: .* is no symbol of Yahoo's such as"):
        run.run()
    assert not run.store.exists()


def test_offline_says_of_every_symbol_what_is_stored_and_what_is_wanted(download):
    run = download("MSFT", "AAPL", symbols=("MSFT",))
    run.run()
    run.server.forget()
    run.server.today = date(2024, 4, 12)
    run.symbols, run.yahoo = ("MSFT", "AAPL"), {"offline": True}
    with pytest.raises(DataError) as failure:
        run.run()
    message = str(failure.value).splitlines()
    assert "lacks sessions of 2 symbol(s); run with yahoo.offline=false to fetch them" in message[0]
    assert message[1:] == [
        "  MSFT: stored are 61 session(s) from 2024-01-02 to 2024-03-28; stale: prices end on 2024-03-28, but 10 "
        "session(s) from 2024-04-01 to 2024-04-12 have closed",
        "  AAPL: nothing is stored; wanted are 71 session(s) from 2024-01-02 to 2024-04-12",
    ]
    with pytest.raises(DataError, match="lacks sessions of 2"):
        run.read()
    assert run.server.asked == []


def test_complete_store_needs_no_network(download):
    run = download("MSFT")
    run.run()
    prices = run.read().prices
    run.server.__exit__()
    assert run.run()["num_requests"] == 0
    assert run.read().prices.equals(prices)
