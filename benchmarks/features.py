"""Market states of a whole index: seconds, memory, and what a second run with little new costs.

Writes prices and articles as the Parquet files that `data.source=files` reads (made-up words, some with markup, some
repeated). Then, each in a process of its own: runs `kedro run` of ingest and features on them, twice; builds and saves
all market states; does so again after an article of five symbols has changed; and builds some symbols by a plain loop
over sessions and articles. `speedup` is the ratio of processor seconds per symbol, which a busy machine does not change
much.

    python benchmarks/features.py --symbols 500 --articles 1000000 --json
"""

import argparse
import json
import multiprocessing
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from bs4 import BeautifulSoup

from flag_kedro.data.calendar import exchange_sessions
from flag_kedro.data.universe import UNIVERSE
from flag_kedro.datasets.folders import SymbolRecords, SymbolTables
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.incremental import update_market_states
from flag_kedro.features.indicators import WARM_UP, compute_indicators
from flag_kedro.features.market_state import data_hash

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]
FEATURES = FeaturesConfig()
FIRST, LAST = date(2014, 1, 2), date(2023, 12, 29)
NUM_WORDS, WORD_POOL = 48, 4000
SHARES = {"<p>{}</p>": 0.02, "<b>News</b>: {} &amp; more": 0.02, "Account: {}": 0.002, "{} — “as reported”": 0.05}
"""Share of the articles that are wrapped so; the others are plain."""
SHARE_REPEATED = 0.05


def write_prices(path: Path, num_symbols: int, rng: np.random.Generator) -> pl.DataFrame:
    """Random walks over ten years of New York sessions; returns the sessions."""
    sessions = exchange_sessions("XNYS", FIRST, LAST)
    size = (num_symbols, sessions.height)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.015, size), axis=1))
    spread = np.exp(np.abs(rng.normal(0.0, 0.01, (2, *size))))
    open_ = close * np.exp(rng.normal(0.0, 0.005, size))
    table = pl.DataFrame(
        {
            "symbol": np.repeat(symbols_of(num_symbols), sessions.height),
            "session": pl.concat([sessions["session"]] * num_symbols),
            "open": open_.ravel(),
            "high": (np.maximum(open_, close) * spread[0]).ravel(),
            "low": (np.minimum(open_, close) / spread[1]).ravel(),
            "close": close.ravel(),
            "adj_close": close.ravel(),
            "volume": rng.integers(100_000, 10_000_000, size).astype(float).ravel(),
        }
    )
    table.write_parquet(path)
    return sessions


def write_news(path: Path, num_symbols: int, num_articles: int, rng: np.random.Generator) -> None:
    """Articles of about 300 characters at any minute, each of one symbol; half of them mention it."""
    words = np.array(["".join(rng.choice(list("aeioubcdfglmnprst"), rng.integers(2, 10))) for _ in range(WORD_POOL)])
    symbols = rng.choice(symbols_of(num_symbols), num_articles)
    minutes = rng.integers(0, (LAST - FIRST).days * 1440, num_articles)
    texts = []
    for start in range(0, num_articles, 50_000):
        drawn = words[rng.integers(WORD_POOL, size=(min(50_000, num_articles - start), NUM_WORDS))]
        texts += [" ".join(row)[:300] for row in drawn]
    lead = np.where(rng.random(num_articles) < 0.5, symbols, "Markets")
    texts = [f"{who} {text}"[:300] for who, text in zip(lead, texts, strict=True)]
    forms = rng.choice(["{}", *SHARES], num_articles, p=[1.0 - sum(SHARES.values()), *SHARES.values()])
    texts = [text if form == "{}" else form.format(text) for form, text in zip(forms, texts, strict=True)]
    repeated = np.flatnonzero(rng.random(num_articles) < SHARE_REPEATED)
    for row in repeated[repeated > 0]:
        texts[row], symbols[row], minutes[row] = texts[row - 1], symbols[row - 1], minutes[row - 1] + 30
    begin = pl.datetime(FIRST.year, FIRST.month, FIRST.day, time_unit="us", time_zone="UTC")
    pl.DataFrame({"symbol": symbols, "minutes": minutes, "headline": texts}).select(
        "symbol",
        published_at=begin + pl.duration(minutes="minutes"),
        headline="headline",
        source=pl.lit("made up"),
    ).sort("published_at").write_parquet(path)


def symbols_of(num: int) -> list[str]:
    """Tickers of four letters."""
    return ["".join(chr(65 + number // 26**place % 26) for place in (3, 2, 1, 0)) for number in range(num)]


def load(folder: Path, symbols: list[str] | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both tables as ingest would leave them."""
    prices, news = (pl.scan_parquet(folder / f"{name}.parquet") for name in ("prices", "news"))
    if symbols is not None:
        prices, news = (table.filter(pl.col("symbol").is_in(symbols)) for table in (prices, news))
    closes = exchange_sessions("XNYS", FIRST, LAST).lazy().select("session", available_at="closes_at")
    return (
        prices.join(closes, on="session", maintain_order="left").sort("symbol", "session").collect(),
        news.with_columns(available_at="published_at").sort("symbol", "available_at", "headline").collect(),
    )


def measured(job: Callable[..., Row], *arguments: Any) -> Row:
    """What `job` returns, run in a fresh process, with that process's peak memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (job, *arguments))


def _measure(job: Callable[..., Row], *arguments: Any) -> Row:
    row = job(*arguments)
    return row | {"peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}


def run_command(folder: Path) -> Row:
    """Ingest and features as a user runs them: seconds from start to end, interpreter and imports included."""
    prices, news, data = (folder / name for name in ("prices.parquet", "news.parquet", "data"))
    params = f"data.source=files,data.path={prices},news.source=files,news.path={news},data_dir={data}"
    command = [sys.executable, "-m", "kedro", "run", "--pipelines=ingest,features", f"--params={params}"]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "command_peak_memory_gb": usage.ru_maxrss * 1024 / 1e9,
    }


def build(folder: Path, num_changed: int) -> Row:
    """Bring the folder's market states up to date, after one article of `num_changed` symbols has changed."""
    started = time.perf_counter()
    prices, news = load(folder)
    first = (pl.int_range(pl.len()).over("symbol") == 0) & pl.col("symbol").is_in(symbols_of(num_changed))
    changed = pl.when(first).then(pl.lit("Something else happened")).otherwise("headline")
    news = news.with_columns(headline=changed)
    read, read_cpu = time.perf_counter(), time.process_time()
    path = str(folder / "market_states")
    earlier = SymbolRecords(filepath=path).load()
    nobody = pl.DataFrame(schema=UNIVERSE)
    update = update_market_states(prices, news, names={}, universe=nobody, earlier=earlier, **asdict(FEATURES))
    built = time.perf_counter()
    SymbolTables(filepath=path).save(update)
    saved = time.perf_counter()
    row = {"read_seconds": read - started, "build_seconds": built - read, "save_seconds": saved - built}
    row |= {"seconds": saved - read, "cpu_seconds": time.process_time() - read_cpu}
    return row | {"symbols_built": len(update.tables)} | asdict(update.report())


def hash_states(folder: Path) -> Row:
    """Seconds to load all states and to hash them."""
    started = time.perf_counter()
    states = SymbolTables(filepath=str(folder / "market_states")).load()
    loaded = time.perf_counter()
    found = data_hash(states)
    return {"load_seconds": loaded - started, "hash_seconds": time.perf_counter() - loaded, "data_hash": found[:16]}


def clean_plainly(text: str, max_chars: int) -> str:
    """One text at a time, character by character."""
    if "<" in text or "&" in text:
        text = BeautifulSoup(text, "html.parser").get_text(" ")
    text = unicodedata.normalize("NFKC", text)
    text = "".join(
        " " if char.isspace() else char for char in text if char.isspace() or unicodedata.category(char)[0] != "C"
    )
    text = " ".join(text.split())
    while match := re.match(r"[\W_]*(?:account|market|news|decision)[\W_]*:", text, re.IGNORECASE):
        text = text[match.end() :].strip()
    return text if len(text) <= max_chars else text[: max_chars - 1].rstrip() + "…"


def build_plainly(prices: pl.DataFrame, news: pl.DataFrame) -> list[tuple[str, str]]:
    """Texts of one symbol's states by a loop over sessions and articles, as much of the work as is easily said."""
    rows = compute_indicators(prices).rows(named=True)
    closes = prices["available_at"].to_list()
    articles = news.select("available_at", "headline").rows()
    found: list[list[str]] = []
    texts: list[tuple[str, str]] = []
    start = 0
    for session, close in enumerate(closes):
        found.append([])
        while start < len(articles) and articles[start][0] <= close:
            found[-1].insert(0, articles[start][1])
            start += 1
        if session < WARM_UP - 1:
            continue
        lines = [
            f"- {clean_plainly(headline, FEATURES.article_chars)}"
            for day in found[: -FEATURES.digest_sessions - 1 : -1]
            for headline in day
        ]
        while lines and len("\n".join(lines)) > FEATURES.digest_chars:
            lines.pop()
        row = rows[session]
        market = ", ".join(f"{name} {value:+.1%}" for name, value in row.items() if name != "session")
        texts.append((market, "\n".join(lines) or "none"))
    return texts


def build_sample(folder: Path, symbols: list[str]) -> Row:
    """Seconds that the plain loop takes for each of a few symbols."""
    prices, news = load(folder, symbols)
    started = time.process_time()
    for symbol in symbols:
        own = pl.col("symbol") == symbol
        build_plainly(prices.filter(own), news.filter(own))
    return {"symbols": len(symbols), "cpu_seconds": time.process_time() - started}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--articles", type=int, default=1_000_000)
    parser.add_argument("--changed", type=int, default=5, help="symbols that change before the second run")
    parser.add_argument("--sample", type=int, default=3, help="symbols of the plain reference")
    parser.add_argument("--folder", type=Path, help="keep the files here and use them if they are there")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "news.parquet").exists():
            rng = np.random.default_rng(0)
            write_prices(folder / "prices.parquet", arguments.symbols, rng)
            write_news(folder / "news.parquet", arguments.symbols, arguments.articles, rng)
        for made in ("market_states", "data"):
            shutil.rmtree(folder / made, ignore_errors=True)
        report: Row = {"symbols": arguments.symbols, "articles": arguments.articles}
        report["ingest_and_features"] = measured(run_command, folder)
        report["again"] = measured(run_command, folder)
        report["all"] = measured(build, folder, 0)
        report["changed"] = measured(build, folder, arguments.changed)
        report["hash"] = measured(hash_states, folder)
        report["plain"] = measured(build_sample, folder, symbols_of(arguments.symbols)[: arguments.sample])
        plain, own = report["plain"]["cpu_seconds"] / arguments.sample, report["all"]["cpu_seconds"] / arguments.symbols
        report["speedup"] = plain / own
    print(json.dumps(report, indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()
