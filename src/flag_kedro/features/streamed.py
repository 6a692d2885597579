"""Market states of a streamed market: made bucket by bucket, kept by symbol and year, read when asked for."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.data.streamed.ingest import as_json
from flag_kedro.data.streamed.partitions import SHAPING
from flag_kedro.data.streamed.store import MarketStore, bucket_of, hash_json, read_json, read_manifest, write_json
from flag_kedro.data.table_hash import hash_table
from flag_kedro.errors import ParameterError
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.fingerprint import code_hash
from flag_kedro.features.market_state import build_by_symbol

MANIFEST = "market_states.json"
Notes = dict[str, dict[str, Any]]
COUNTS = ("num_states", "symbols_built", "partitions_built", "states_built")


@dataclass(frozen=True)
class StateStore(Mapping[str, pl.DataFrame]):
    """Market states by symbol, each read when it is asked for.

    `symbol=SYMBOL/YEAR.parquet` holds the states of a year, `buckets/` what they were made of.
    """

    root: Path
    chosen: tuple[str, ...] | None = None
    """Symbols that are shown; None for all."""

    @property
    def manifest(self) -> dict[str, Any]:
        """Symbols and facts of the last run that ended.

        Raises:
            DataError: when there was none.
        """
        return read_manifest(self.root / MANIFEST, "market states")

    def __iter__(self) -> Iterator[str]:
        """Symbols in alphabetical order."""
        known = self.manifest["symbols"]
        return iter(known if self.chosen is None else sorted(set(self.chosen) & set(known)))

    def __len__(self) -> int:
        """Number of symbols."""
        return len(list(iter(self)))

    def __getitem__(self, symbol: str) -> pl.DataFrame:
        """Columns of `market_state.MARKET_STATE`, ascending in session; of a symbol that is there."""
        if symbol not in list(self):
            raise KeyError(symbol)
        return self.scan(symbol).collect().rechunk()

    def scan(self, symbol: str) -> pl.LazyFrame:
        """States of a symbol, of which nothing is read before they are collected."""
        years = self.notes(bucket_of(symbol)).get(symbol, {})
        files = [self.file(symbol, int(year)) for year in sorted(years) if years[year]["rows"]]
        return pl.scan_parquet(files, glob=False)

    def file(self, symbol: str, year: int) -> Path:
        """Of a symbol's states of a year."""
        return self.root / f"symbol={symbol}" / f"{year}.parquet"

    def note_path(self, bucket: int) -> Path:
        """File that says what the states of a bucket of symbols were made of."""
        return self.root / "buckets" / f"{bucket:03d}.json"

    def notes(self, bucket: int) -> dict[str, Notes]:
        """By symbol and year `fingerprint`, number of `rows` and `bytes` of the file."""
        found: dict[str, Notes] = read_json(self.note_path(bucket)).get("symbols", {})
        return found


@dataclass(frozen=True)
class StreamedStates:
    """What a run made."""

    num_symbols: int
    num_states: int
    symbols_built: int
    """Symbols of which a year at least was made."""
    partitions_built: int
    states_built: int


def stream_states(
    market: MarketStore,
    folder: Path,
    features: FeaturesConfig,
    on_step: Callable[[str], None] = lambda _: None,
) -> StreamedStates:
    """Make the states of every symbol and year whose prices, articles or parameters are not those of before.

    A year's states depend on the symbol's prices up to its end, and on articles back to `digest_sessions` sessions
    before its first. Indicators that smooth reach back to the first price, so that prices are read from there on; of
    articles only those years that count.

    Args:
        market: validated prices and news.
        folder: of the states.
        features: what a state shows.
        on_step: told of each tenth of the buckets.

    Raises:
        ParameterError: for an ablation that needs all articles of a symbol at once.
        DataError: as `market_state.build_market_states`.
    """
    if features.ablation == "shuffle_news":
        raise ParameterError(
            "features.ablation is shuffle_news, which draws from all earlier articles of a symbol; streamed states do "
            "not hold them. Choose symbols (--pipelines=select) and make their states by --pipelines=features"
        )
    store, manifest, universe = StateStore(folder), market.manifest, market.universe
    symbols = list(manifest["symbols"])
    write_json(folder / MANIFEST, read_json(folder / MANIFEST) | {"complete": False})
    buckets: dict[int, list[str]] = {}
    for symbol in symbols:
        buckets.setdefault(bucket_of(symbol), []).append(symbol)
    names = {
        symbol: list(manifest["names"].get(symbol, ())) for symbol in dict.fromkeys([*symbols, *manifest["names"]])
    }
    masked = names if features.ablation == "mask_names" else {}
    common = hash_json(as_json(features), universe.is_empty(), masked, code_hash())
    maker = _Maker(market, store, universe, features, names, common)
    made = Counter[str]()
    for number, bucket in enumerate(sorted(buckets), start=1):
        made.update(maker.update(bucket, buckets[bucket]))
        if number % max(1, len(buckets) // 10) == 0:
            on_step(f"market states: {number} of {len(buckets)} buckets of symbols")
    for note in folder.glob("buckets/[0-9]*.json"):
        if int(note.stem) not in buckets:
            note.unlink()  # before its states, which it would else say are there
    for stale in folder.glob("symbol=*"):
        if stale.name.partition("=")[2] not in symbols:
            shutil.rmtree(stale)
    facts = {"symbols": symbols, "features": as_json(features), "market": manifest["tables"], "complete": True}
    write_json(folder / MANIFEST, facts)
    return StreamedStates(len(symbols), **{name: made[name] for name in COUNTS})


@dataclass(frozen=True)
class _Maker:
    market: MarketStore
    store: StateStore
    universe: pl.DataFrame
    features: FeaturesConfig
    names: Mapping[str, Sequence[str]]
    """Of every symbol, also where none is known."""
    common: str
    """Hash of what shapes the states of all symbols."""

    def update(self, bucket: int, symbols: list[str]) -> dict[str, int]:
        """Make what has changed of a bucket; `COUNTS`."""
        record, note = self.market.record(bucket), self.store.note_path(bucket)
        made_of = hash_json(record["made_of"], self.common, symbols, hash_table(self.universe).hex())
        before = read_json(note)
        if before.get("made_of") == made_of:
            return {"num_states": before["num_states"]}
        reach = self._reach(symbols)
        wanted = {symbol: self._fingerprints(symbol, record, reach[symbol]) for symbol in symbols}
        seen: dict[str, Notes] = before.get("symbols", {})
        notes = {symbol: self._unchanged(symbol, seen.get(symbol, {}), wanted[symbol]) for symbol in symbols}
        dirty = {symbol: [year for year in wanted[symbol] if str(year) not in notes[symbol]] for symbol in symbols}
        write_json(note, {"made_of": None, "symbols": notes})  # killed from here on, the others are made again
        counts = Counter[str]()
        for since, group in _groups(dirty, wanted).items():
            states = self._build(group, since, reach)
            for symbol in group:
                made = self._save(symbol, states[symbol], wanted[symbol], dirty[symbol])
                notes[symbol] |= made
                rows = sum(year["rows"] for year in made.values())
                counts.update({"symbols_built": 1, "partitions_built": len(made), "states_built": rows})
        for symbol in symbols:
            for file in (self.store.root / f"symbol={symbol}").glob("*.parquet"):
                if file.stem not in notes[symbol]:  # of a year that is gone, or half written
                    file.unlink()
        num_states = sum(year["rows"] for years in notes.values() for year in years.values())
        write_json(note, {"made_of": made_of, "num_states": num_states, "symbols": notes})
        return dict(counts) | {"num_states": num_states}

    def _unchanged(self, symbol: str, seen: Notes, wanted: Mapping[int, str]) -> Notes:
        """Notes of the years whose file is there as it was written, and of what it would be made of now."""
        return {
            str(year): seen[str(year)]
            for year, fingerprint in wanted.items()
            if seen.get(str(year), {}).get("fingerprint") == fingerprint
            and _size(self.store.file(symbol, year)) == seen[str(year)]["bytes"]
        }

    def _reach(self, symbols: list[str]) -> dict[str, dict[int, int | None]]:
        """By symbol and year of its sessions the first year of articles that its states can show; None for all."""
        sessions = self.market.scan("prices", symbols).select("symbol", "session", "available_at").collect()
        before = pl.col("available_at").shift(self.features.digest_sessions).over("symbol")
        years = sessions.with_columns(year=pl.col("session").dt.year(), reach=before.dt.year())
        firsts = years.group_by("symbol", "year").agg(pl.col("reach").first()).sort("symbol", "year")
        found: dict[str, dict[int, int | None]] = {symbol: {} for symbol in symbols}
        for symbol, year, reach in firsts.iter_rows():
            found[symbol][year] = reach
        return found

    def _fingerprints(self, symbol: str, record: Mapping[str, Any], reach: Mapping[int, int | None]) -> dict[int, str]:
        """By year of sessions a hash of all that shapes the states of the year."""
        prices = {
            int(year): note["symbols"][symbol] for year, note in record["prices"].items() if symbol in note["symbols"]
        }
        news = {
            int(year): note["symbols"][symbol] for year, note in record["news"].items() if symbol in note["symbols"]
        }
        members = "" if self.universe.is_empty() else hash_table(self.universe.filter(pl.col("symbol") == symbol)).hex()
        own = [self.common, members, list(self.names[symbol])]
        fingerprints = {}
        for year in sorted(prices):
            first = reach[year]
            told = {
                str(other): news[other] for other in sorted(news) if (first is None or other >= first) and other <= year
            }
            past = [prices[other] for other in sorted(prices) if other <= year]
            fingerprints[year] = hash_json(own, past, told)
        return fingerprints

    def _build(
        self, symbols: list[str], since: int | None, reach: Mapping[str, Mapping[int, int | None]]
    ) -> dict[str, pl.DataFrame]:
        """States from a year on; all with None."""
        firsts = [reach[symbol][since] for symbol in symbols] if since is not None else [None]
        known = [first for first in firsts if first is not None]
        years = range(min(known), date.max.year) if len(known) == len(firsts) else None
        prices = self.market.scan("prices", symbols).collect()
        news = self.market.scan("news", symbols, years).select(SHAPING).collect()
        states, _ = build_by_symbol(
            prices,
            news,
            names=self.names,
            universe=self.universe,
            since=None if since is None else date(since, 1, 1),
            **asdict(self.features),
        )
        return states

    def _save(self, symbol: str, states: pl.DataFrame, fingerprints: Mapping[int, str], dirty: Sequence[int]) -> Notes:
        """Write the years that have changed, each whole or not at all."""
        by_year = states.with_columns(year=pl.col("session").dt.year())
        tables = by_year.partition_by("year", as_dict=True, include_key=False)
        made: Notes = {}
        for year in dirty:
            table, file = tables.get((year,), states.clear()), self.store.file(symbol, year)
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary = file.with_name(f".{file.name}")
            table.write_parquet(temporary)
            temporary.replace(file)  # of a size that is noted, so that one that the disk lost is made again
            made[str(year)] = {"fingerprint": fingerprints[year], "rows": table.height, "bytes": _size(file)}
        return made


def _size(file: Path) -> int | None:
    """Bytes of a file; None where there is none."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None


def _groups(dirty: Mapping[str, Sequence[int]], years: Mapping[str, Mapping[int, str]]) -> dict[int | None, list[str]]:
    """Symbols with something to make, by the first year of it; None where that is the first year of all."""
    groups: dict[int | None, list[str]] = {}
    for symbol, changed in dirty.items():
        if changed:
            first = min(changed)
            groups.setdefault(None if first == min(years[symbol]) else first, []).append(symbol)
    return groups
