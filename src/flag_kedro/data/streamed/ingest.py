"""Prices and news of any number, from files or a streamed dataset, into a store of validated tables."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import TypeAdapter

from flag_kedro.data.atomic import atomic_write
from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.exchanges import symbol_calendar
from flag_kedro.data.files import FilesConfig
from flag_kedro.data.files.huggingface import pinned
from flag_kedro.data.files.symbols import refuse_most_left_out
from flag_kedro.data.files.tables import find_tables
from flag_kedro.data.files.times import check_zone
from flag_kedro.data.market import expected_sessions
from flag_kedro.data.streamed.partitions import BucketRules, update_bucket
from flag_kedro.data.streamed.reading import NewsReader, PriceReader, sum_facts
from flag_kedro.data.streamed.report import StreamReport, report_market
from flag_kedro.data.streamed.store import (
    MANIFEST,
    Kind,
    MarketStore,
    bucket_of,
    concat,
    hash_json,
    read_json,
    write_json,
)
from flag_kedro.data.streamed.units import LEFT_OUT, Piece, Source, Unit, stage, sweep
from flag_kedro.data.universe import read_universe, universe_symbols
from flag_kedro.data.validation import REJECTED, refuse_shares
from flag_kedro.errors import DataError, ParameterError

logger = logging.getLogger(__name__)
PACKAGE = Path(__file__).resolve().parents[1]
CODE = (
    *("files/*.py", "streamed/*.py", "calendar.py", "columns.py", "duplicates.py", "exchanges.py", "form.py"),
    *("market.py", "report.py", "rules.py", "schema.py", "validation.py"),
)
"""What decides over rows; a store that other code made is made anew."""


@dataclass(frozen=True)
class StreamConfig:
    """Parameters of a streamed market."""

    data: DataConfig
    news: NewsConfig
    files: FilesConfig

    def __post_init__(self) -> None:
        if self.data.source != "files":
            raise ParameterError(
                f"data.source is {self.data.source}, but only tables of prices are streamed: set data.source=files and "
                "data.path, or run the pipelines ingest and features, which hold a market in memory"
            )

    @property
    def reading(self) -> dict[str, Any]:
        """Parameters that decide which rows are read, and as what; paths do not."""
        data = {name: value for name, value in as_json(self.data).items() if name not in ("path", "windows", "seed")}
        news = {name: value for name, value in as_json(self.news).items() if name != "path"}
        return {"data": data, "news": news, "files": as_json(self.files)}


def stream_market(
    config: StreamConfig, folder: Path, now: datetime, on_step: Callable[[str], None] = logger.info
) -> StreamReport:
    """Bring the store in `folder` up to date with its sources; memory holds a unit, or a bucket, at a time.

    Files that were read before and have not changed are not read again, tables that no new row belongs to are not
    written again. A run that was cut short goes on behind the last unit that was committed.

    Args:
        config: parameters; `news.source` is `files`, `huggingface` or `none`.
        folder: of the store.
        now: time of the run (UTC); nothing later can have happened.
        on_step: told of each unit, and of each tenth of the buckets.

    Raises:
        DataError: listing what cannot be read or breaks a rule in the first unit or bucket that has such rows.
        ParameterError: when a parameter does not fit the source.
    """
    store = MarketStore(folder)
    manifest = read_json(folder / MANIFEST)
    write_json(folder / MANIFEST, manifest | {"complete": False})
    universe = read_universe(config.data.universe)
    chosen = config.data.symbols
    if chosen is None and not universe.is_empty():
        symbols = universe_symbols(universe)
        config = replace(config, data=replace(config.data, symbols=symbols))
    price_files, price_units = _read_prices(config, store, now, on_step)
    firsts = _first_sessions(price_units, config)
    _check_calendars(firsts, config.data, universe)
    news_units = _read_news(config, store, sorted(firsts), now, on_step)
    rules = BucketRules(
        config.data,
        universe,
        price_files,
        config.files.duplicates,
        config.news.duplicate_sessions,
        now,
        hash_json(config.reading, code_hash()),
    )
    records = _update_buckets(store, sorted(firsts), price_units, news_units, rules, on_step)
    _refuse_most_prices(store, price_units, records, config.data.max_left_out)
    with atomic_write(store.universe_path) as temporary:
        universe.write_parquet(temporary)
    report = report_market(chosen, config.data, config.news, price_units, news_units, records, universe)
    names = {symbol.upper(): [name] for symbol, name in config.files.names.items()}
    facts = {"symbols": sorted(firsts), "names": names, "reading": config.reading, "complete": True}
    write_json(folder / MANIFEST, facts | {"tables": hash_json([records[bucket]["made_of"] for bucket in records])})
    return report


def _read_prices(
    config: StreamConfig, store: MarketStore, now: datetime, on_step: Callable[[str], None]
) -> tuple[tuple[Path, ...], list[Unit]]:
    """The files of prices, and their units, read where they are not there yet."""
    check_zone(config.files.timezone, config.files.KEY)
    assert config.data.path is not None  # DataConfig requires it for this source
    paths = find_tables(config.data.path, "data.path")
    reading = config.reading
    settings = hash_json({name: reading[name] for name in ("data", "files")}, code_hash())
    sources = [Source.of_file(path, settings) for path in paths]
    reader = PriceReader(config.data, config.files, partial(symbol_calendar, data=config.data))
    done = sweep(store.units("prices"), sources, now)
    for path, source in zip(paths, sources, strict=True):
        read = partial(reader.read, path)
        _stage(store, "prices", source, done[source.name], read, reader.take_facts, on_step)
    return paths, [unit for source in sources for unit in done[source.name]]


def _read_news(
    config: StreamConfig, store: MarketStore, wanted: list[str], now: datetime, on_step: Callable[[str], None]
) -> list[Unit]:
    """The units of articles about `wanted`, read where they are not there yet."""
    news = config.news
    check_zone(news.timezone, news.KEY)
    calendar_of = partial(symbol_calendar, data=config.data)
    settings = hash_json(config.reading, code_hash())
    reader = NewsReader(news, wanted, calendar_of, now, config.data.quarantine)
    sources: dict[str, tuple[Source, Callable[[int], Iterator[Piece]]]] = {}
    if news.source == "files":
        for path in find_tables(str(news.path), "news.path"):
            sources[str(path)] = Source.of_file(path, settings), partial(reader.read_file, path)
    elif news.source == "huggingface":
        dataset, commit = pinned(news)
        reader = NewsReader(dataset, wanted, calendar_of, now, config.data.quarantine)
        name = f"{news.path} ({news.split})"
        sources[name] = Source(name, commit or _local_state(Path(str(news.path)), now), settings), reader.read_dataset
    elif news.source == "own":
        raise ParameterError("news.source is own, but files of prices have no articles; set files, huggingface or none")
    done = sweep(
        store.units("news"), [source for source, _ in sources.values()], now, partial(_looked_for, set(wanted))
    )
    for source, read in sources.values():
        _stage(store, "news", source, done[source.name], read, reader.take_facts, on_step)
    units = [unit for name in sources for unit in done[name]]
    if news.source == "files":
        tally, _ = sum_facts([unit.facts for unit in units])
        refuse_most_left_out(tally, wanted, news, config.data.max_left_out)
    _refuse_most_articles(units, config.data.max_left_out)
    return units


def _stage(
    store: MarketStore,
    kind: Kind,
    source: Source,
    done: list[Unit],
    read: Callable[[int], Iterator[Piece]],
    take_facts: Callable[[], Mapping[str, Any]],
    on_step: Callable[[str], None],
) -> None:
    """Add the units of `source` that are missing to `done`."""
    for unit in stage(store.units(kind), source, list(done), read, take_facts):
        done.append(unit)
        if unit.rows or not unit.index:  # else what marks the end of a source
            on_step(f"{kind}: {unit.kept} of {unit.rows} rows of {Path(source.name).name}, part {unit.index + 1}")


def _update_buckets(
    store: MarketStore,
    symbols: Sequence[str],
    price_units: Sequence[Unit],
    news_units: Sequence[Unit],
    rules: BucketRules,
    on_step: Callable[[str], None],
) -> dict[int, dict[str, Any]]:
    """The records of all buckets that have symbols."""
    buckets = sorted({bucket_of(symbol) for symbol in symbols})
    prices_of = _by_bucket(price_units)
    news_of = _by_bucket(news_units)
    records = {}
    for number, bucket in enumerate(buckets, start=1):
        records[bucket] = update_bucket(store, bucket, prices_of.get(bucket, []), news_of.get(bucket, []), rules)
        if number % max(1, len(buckets) // 10) == 0:
            on_step(f"tables: {number} of {len(buckets)} buckets of symbols")
    for file in (store.root / "buckets").glob("[0-9]*.json"):
        if int(file.stem) not in records:
            store.remove_bucket(int(file.stem))
    return records


def _looked_for(wanted: set[str], unit: Unit) -> bool:
    """Whether a unit of news has the articles of these symbols, as far as its rows name them, and no others."""
    return wanted.issuperset(unit.facts["wanted"]) and wanted.isdisjoint(unit.facts["unwanted"])


def _by_bucket(units: Sequence[Unit]) -> dict[int, list[Unit]]:
    having: dict[int, list[Unit]] = {}
    for unit in units:
        for bucket in sorted({int(part[:3]) for part in unit.parts}):
            having.setdefault(bucket, []).append(unit)
    return having


def _first_sessions(units: Sequence[Unit], config: StreamConfig) -> dict[str, date]:
    """First session of each symbol.

    Raises:
        DataError: naming wanted symbols without prices.
    """
    firsts: dict[str, date] = {}
    for unit in units:
        for symbol, day in unit.facts["symbols"].items():
            firsts[symbol] = min(date.fromisoformat(day), firsts.get(symbol, date.max))
    if missing := sorted(set(config.data.symbols or ()) - set(firsts)):
        raise DataError(f"data.symbols: no prices of {' '.join(missing[:20])} in {config.data.path}")
    if not firsts:
        raise DataError(f"data.path: {config.data.path} has no price that may be kept")
    return firsts


def _check_calendars(firsts: Mapping[str, date], data: DataConfig, universe: pl.DataFrame) -> None:
    """Refuse calendars of symbols that are not there, or that no symbol has."""
    one = pl.DataFrame({"symbol": list(firsts), "session": list(firsts.values())})
    expected_sessions(one, data, universe.clear())


def _refuse_most_prices(
    store: MarketStore, units: Sequence[Unit], records: Mapping[int, Mapping[str, Any]], limit: float
) -> None:
    """As `validation.refuse_most_left_out`, of prices that cannot be read and of those that break a rule."""
    files = [store.units("prices") / unit.name / LEFT_OUT for unit in units if unit.rejected]
    files += [store.rejected_path(bucket) for bucket, record in records.items() if record["rejected"]["rows"]]
    rejected = concat([pl.read_parquet(file, glob=False) for file in files], REJECTED)
    symbols = rejected.unique(["table", "symbol", "row", "record"])["symbol"]
    kept = {
        symbol: facts["num_sessions"] for record in records.values() for symbol, facts in record["coverage"].items()
    }
    taken = dict(symbols.drop_nulls().value_counts().sort("symbol").iter_rows())
    shares = {f"prices of {symbol}": (num, kept.get(symbol, 0)) for symbol, num in taken.items()}
    refuse_shares({"rows of prices": (len(symbols), sum(kept.values()))} | shares, limit)


def _refuse_most_articles(units: Sequence[Unit], limit: float) -> None:
    out, kept = sum(unit.rejected for unit in units), sum(unit.kept for unit in units)
    refuse_shares({"articles": (out, kept)}, limit)


def _local_state(folder: Path, now: datetime) -> str:
    """Of all files of a local dataset; of an address, which tells nothing of its content, another one each time."""
    if not folder.exists():
        return now.isoformat()
    files = [folder] if folder.is_file() else sorted(file for file in folder.rglob("*") if file.is_file())
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hash_json(stats)


def as_json(config: Any) -> dict[str, Any]:
    """A config as JSON has it."""
    dumped: dict[str, Any] = TypeAdapter(type(config)).dump_python(config, mode="json")
    return dumped


def code_hash() -> str:
    """Hash of the code that decides over rows, of the library that reads them, and of the one that knows sessions."""
    digest = sha256(f"{pl.__version__} {version('exchange_calendars')}".encode())
    for pattern in CODE:
        for file in sorted(PACKAGE.glob(pattern)):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
