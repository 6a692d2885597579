"""Text at internet scale: seconds and memory of the stream pipeline on made-up news in the form of FNSPID.

Writes Parquet files of prices and of articles (a few symbols have most of them; 5 % come again from another wire, some
are bad), block by block. Then runs `kedro run --pipelines=stream` in a process of its own, whose memory, its children's
with it, is sampled; again with nothing new; again after one more session of all symbols with its articles; and
`--pipelines=select` of three symbols.

    python benchmarks/corpus.py --articles 5000000 --symbols 3000 --years 20 --json
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil

from flag_kedro.data.calendar import exchange_sessions

ROOT = Path(__file__).resolve().parents[1]
LAST = date(2024, 12, 31)
FILE_ROWS = 250_000
PRICE_SYMBOLS = 100
"""Symbols in one file of prices."""
WORD_POOL, TITLE_WORDS, PARAGRAPHS, PARAGRAPH_CHARS = 4000, (6, 14), 2000, 700
SHARE_WITH_BODY, SHARE_REPEATED, SHARE_UNREADABLE, SHARE_WORDLESS, SHARE_DATED = 0.2, 0.05, 0.0005, 0.0005, 0.2
FEW = 10.0
"""The k-th symbol has a share of articles in proportion to 1 / (k + FEW)."""
Row = dict[str, Any]


def symbols_of(num: int) -> list[str]:
    """Tickers of four letters."""
    return ["".join(chr(65 + number // 26**place % 26) for place in (3, 2, 1, 0)) for number in range(num)]


def write_prices(folder: Path, day: Path, symbols: list[str], sessions: pl.Series, seed: int) -> int:
    """Random walks of all symbols, the last session in a file of its own; number of rows."""
    folder.mkdir(parents=True)
    last = []
    for first in range(0, len(symbols), PRICE_SYMBOLS):
        some = symbols[first : first + PRICE_SYMBOLS]
        rng = np.random.default_rng([seed, 1, first])
        size = (len(some), len(sessions))
        close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.015, size), axis=1))
        open_ = close * np.exp(rng.normal(0.0, 0.005, size))
        table = pl.DataFrame(
            {
                "symbol": np.repeat(some, len(sessions)),
                "session": pl.concat([sessions] * len(some)),
                "open": open_.ravel(),
                "high": (np.maximum(open_, close) * 1.004).ravel(),
                "low": (np.minimum(open_, close) / 1.004).ravel(),
                "close": close.ravel(),
                "adj_close": close.ravel(),
                "volume": rng.integers(100_000, 10_000_000, size).astype(float).ravel(),
            }
        )
        table.filter(pl.col("session") < sessions[-1]).write_parquet(folder / f"prices-{first:05d}.parquet")
        last.append(table.filter(pl.col("session") == sessions[-1]))
    pl.concat(last).write_parquet(day)
    return len(symbols) * (len(sessions) - 1)


class Writer:
    """Draws texts, always the same for a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 2])
        letters = list("aeioubcdfglmnprst")
        words = ["".join(self.rng.choice(letters, self.rng.integers(2, 10))) for _ in range(WORD_POOL)]
        self.words = pl.Series("word", words)
        chars = [
            "".join(f"{word} " for word in self.rng.choice(words, 140))[:PARAGRAPH_CHARS] for _ in range(PARAGRAPHS)
        ]
        self.paragraphs = pl.Series("paragraph", chars)

    def articles(self, symbols: pl.Series, first: datetime, minutes: int) -> pl.DataFrame:
        """One row for each of `symbols`, and one more for each that comes again, in the columns of FNSPID."""
        num, rng = len(symbols), self.rng
        drawn = [self.words.gather(rng.integers(WORD_POOL, size=num)) for _ in range(TITLE_WORDS[1])]
        length = pl.Series(rng.integers(*TITLE_WORDS, size=num, endpoint=True))
        parts = [pl.when(length > place).then(pl.lit(word)) for place, word in enumerate(drawn)]
        body = [self.paragraphs.gather(rng.integers(PARAGRAPHS, size=num)) for _ in range(3)]
        has_body = pl.Series(rng.random(num) < SHARE_WITH_BODY)
        moment = pl.Series(rng.integers(0, minutes, size=num))
        dated, again = (pl.Series(rng.random(num) < share) for share in (SHARE_DATED, SHARE_REPEATED))
        fate = pl.Series(rng.random(num))
        mentions = pl.Series(rng.random(num) < 0.5)
        text = pl.concat_str(pl.when(mentions).then(pl.lit(symbols)), *parts, separator=" ", ignore_nulls=True)
        rows = pl.DataFrame({"Stock_symbol": symbols, "minute": moment, "again": again}).with_columns(
            Article_title=pl.when(fate < SHARE_WORDLESS).then(pl.lit("--")).otherwise(text),
            Url=pl.format("https://news.example.org/{}/{}", pl.lit(symbols), pl.int_range(num)),
            Publisher=pl.when(fate > 0.3).then(pl.lit("Benzinga")),
            Author=pl.lit(None, dtype=pl.String),
            Article=pl.when(has_body).then(pl.concat_str([pl.lit(one) for one in body])),
            unreadable=fate > 1.0 - SHARE_UNREADABLE,
            dated=dated,
        )
        repeated = rows.filter("again").with_columns(
            Article_title=pl.concat_str("Article_title", pl.lit(" - Reuters")), minute=pl.col("minute") + 90
        )
        time_ = pl.lit(first).cast(pl.Datetime("us")) + pl.duration(minutes="minute")
        midnight, minute = (time_.dt.strftime(f"%Y-%m-%d {clock}:00 UTC") for clock in ("00:00", "%H:%M"))
        written = pl.when("unreadable").then(pl.lit("some day")).when("dated").then(midnight).otherwise(minute)
        columns = ["Date", "Article_title", "Stock_symbol", "Url", "Publisher", "Author", "Article"]
        return pl.concat([rows, repeated]).with_columns(Date=written).select(columns)


def write_news(folder: Path, day: Path, symbols: list[str], sessions: pl.Series, num: int, seed: int) -> dict[str, int]:
    """Files of articles by symbol, as FNSPID has them, and one of the last session's."""
    folder.mkdir(parents=True)
    writer = Writer(seed)
    share = 1.0 / (np.arange(len(symbols)) + FEW)
    originals = int(num / (1.0 + SHARE_REPEATED))
    counts = np.random.default_rng([seed, 3]).multinomial(originals, share / share.sum())
    first = datetime.combine(sessions[0], datetime.min.time())
    end = datetime.combine(sessions[-2], datetime.min.time())
    minutes = int((end - first).total_seconds() // 60)
    total = 0
    for number, block in enumerate(_blocks(symbols, counts)):
        table = writer.articles(block, first, minutes)
        table.sort("Stock_symbol", "Date", descending=[False, True]).write_parquet(
            folder / f"news-{number:05d}.parquet"
        )
        total += table.height
    today = writer.rng.choice(symbols, max(1, num // len(sessions)), p=share / share.sum())
    last = writer.articles(pl.Series(today), datetime.combine(sessions[-1], datetime.min.time()), 1000)
    last.write_parquet(day)
    return {"articles": total, "articles_of_the_day": last.height}


def _blocks(symbols: list[str], counts: "np.typing.NDArray[np.int64]") -> Iterator[pl.Series]:
    """Symbols of articles, so many of each, in blocks of `FILE_ROWS`."""
    rows = pl.DataFrame({"symbol": symbols, "num": counts}).with_columns(end=pl.col("num").cum_sum())
    for start in range(0, int(counts.sum()), FILE_ROWS):
        inside = rows.with_columns(
            num=pl.min_horizontal("end", start + FILE_ROWS) - pl.max_horizontal(pl.col("end") - pl.col("num"), start)
        ).filter(pl.col("num") > 0)
        yield inside.select(pl.col("symbol").repeat_by("num").explode()).to_series()


def run(folder: Path, pipeline: str, symbols: str | None = None) -> Row:
    """Run a pipeline in a fresh process: seconds, and the largest memory of it and its children together."""
    params = [
        f"data.source=files,data.path={folder / 'prices'},news.source=files,news.path={folder / 'news'}",
        f"data.quarantine=true,data_dir={folder / 'data'}",
        *([f"data.symbols={symbols}"] if symbols else []),
    ]
    command = [sys.executable, "-m", "kedro", "run", f"--pipelines={pipeline}", f"--params={','.join(params)}"]
    log = folder / f"{pipeline}.log"
    started, cpu = time.time(), _cpu_seconds()
    peaks = {"ingest": 0, "states": 0}
    with log.open("w") as output, subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output) as process:
        manifest = folder / "data" / "02_intermediate" / "market_store" / "market.json"
        parent, ended = psutil.Process(process.pid), 0.0
        while process.poll() is None:
            if not ended and manifest.exists() and '"complete": true' in manifest.read_text():
                ended = max(started, manifest.stat().st_mtime) if manifest.stat().st_mtime > started else 0.0
            phase = "states" if ended else "ingest"
            peaks[phase] = max(peaks[phase], _memory(parent))
            time.sleep(0.2)
    seconds = time.time() - started
    if process.returncode:
        raise RuntimeError(log.read_text()[-4000:])
    row = {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(_cpu_seconds() - cpu, 1),
        "peak_memory_gb": round(max(peaks.values()) / 1e9, 2),
    }
    if pipeline == "stream":
        row |= {"ingest_seconds": round(ended - started, 1), "states_seconds": round(started + seconds - ended, 1)}
        row |= {f"{phase}_peak_gb": round(peak / 1e9, 2) for phase, peak in peaks.items()}
    return row


def _cpu_seconds() -> float:
    """Of all children that have ended: what a busy machine hardly changes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _memory(parent: psutil.Process) -> int:
    """Resident bytes of a process and of all below it."""
    total = 0
    try:
        for process in (parent, *parent.children(recursive=True)):
            total += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def size_gb(folder: Path) -> float:
    """Bytes of all files below a folder."""
    return round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e9, 3)


def measure(folder: Path, num_symbols: int, num_articles: int, years: int, seed: int) -> Row:
    """Write the corpus, run, add a day, run again."""
    sessions = exchange_sessions("XNYS", LAST - timedelta(days=int(365.25 * years)), LAST)["session"]
    symbols = symbols_of(num_symbols)
    days = folder / "days"
    days.mkdir()
    started = time.time()
    rows = write_prices(folder / "prices", days / "prices.parquet", symbols, sessions, seed)
    counts = write_news(folder / "news", days / "news.parquet", symbols, sessions, num_articles, seed)
    report: Row = {"symbols": num_symbols, "sessions": len(sessions) - 1, "prices": rows} | counts
    report |= {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "write_seconds": round(time.time() - started, 1),
    }
    report["sources_gb"] = size_gb(folder)
    report["first"] = run(folder, "stream")
    report["first"]["articles_per_second"] = round(counts["articles"] / report["first"]["seconds"])
    told = json.loads((folder / "data" / "02_intermediate" / "stream_report.json").read_text())
    report["counted"] = told["articles"]
    report["stores_gb"] = {
        name: size_gb(folder / "data" / "02_intermediate" / name) for name in ("market_store", "state_store")
    }
    report["again"] = run(folder, "stream")
    for name in ("prices", "news"):
        shutil.move(days / f"{name}.parquet", folder / name / f"{name}-day.parquet")
    report["one_day_more"] = run(folder, "stream")
    for name in ("seconds", "cpu_seconds"):
        report["one_day_more"][f"share_of_{name}"] = round(report["one_day_more"][name] / report["first"][name], 3)
    report["built"] = json.loads((folder / "data" / "08_reporting" / "streamed_states.json").read_text())
    report["select_three"] = run(folder, "select", " ".join(symbols[:3]))
    return report


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--articles", type=int, default=100_000)
    parser.add_argument("--symbols", type=int, default=3000)
    parser.add_argument("--years", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="an empty folder, kept; else a temporary one")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        folder = Path(scratch)
        report = measure(folder, arguments.symbols, arguments.articles, arguments.years, arguments.seed)
    print(json.dumps(report, indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()
