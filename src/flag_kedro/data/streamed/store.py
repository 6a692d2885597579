"""Where streamed prices and news lie: units as they were read, and validated tables by bucket of symbols and year."""

import json
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import polars as pl

from flag_kedro.data.atomic import atomic_write
from flag_kedro.data.schema import NEWS, PRICES, Schema
from flag_kedro.errors import DataError

Kind = Literal["prices", "news"]
SCHEMAS: dict[Kind, Schema] = {"prices": PRICES, "news": NEWS}
NUM_BUCKETS = 64
"""Buckets that symbols are dealt to by their names: few files, and each small enough for memory."""
MANIFEST = "market.json"


def bucket_of(symbol: str) -> int:
    """The bucket of a symbol, always the same."""
    return crc32(symbol.encode()) % NUM_BUCKETS


def with_buckets(table: pl.DataFrame) -> pl.DataFrame:
    """`table` with `bucket`, that of its `symbol`."""
    buckets = {symbol: bucket_of(symbol) for symbol in table["symbol"].unique()}
    return table.with_columns(bucket=pl.col("symbol").replace_strict(buckets, return_dtype=pl.Int64))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is no file, or half of one."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace a JSON file as a whole."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def read_manifest(path: Path, content: str) -> dict[str, Any]:
    """What the last run that ended says of a store.

    Raises:
        DataError: when there was none, saying of what `content`.
    """
    found = read_json(path)
    if not found.get("complete"):
        raise DataError(
            f"{path.parent} holds no {content}, or that of a run that was cut short; run it, which goes on where it "
            "stopped: kedro run --pipelines=stream"
        )
    return found


def hash_json(*content: Any) -> str:
    """Hex sha256 of what JSON can hold."""
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def remove_folder(folder: Path, manifest: str) -> None:
    """Remove a folder, its manifest first, so that no half of it passes for whole."""
    (folder / manifest).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class MarketStore:
    """Validated prices and news of many symbols, read when asked for.

    `units/KIND/UNIT/` holds rows as they were read, `KIND/BUCKET/YEAR.parquet` validated tables, `buckets/BUCKET.json`
    what those of a bucket were made of, `quarantine/` rows that were left out, `market.json` the symbols and facts.
    """

    root: Path

    def units(self, kind: Kind) -> Path:
        """Folder of the units of a table."""
        return self.root / "units" / kind

    def partition(self, kind: Kind, bucket: int, year: int) -> Path:
        """File of a bucket's rows of a year: of the session, or of the time an article became available."""
        return self.root / kind / f"{bucket:03d}" / f"{year}.parquet"

    def record_path(self, bucket: int) -> Path:
        """File that says what a bucket's tables were made of."""
        return self.root / "buckets" / f"{bucket:03d}.json"

    def rejected_path(self, bucket: int) -> Path:
        """File of a bucket's prices that were left out."""
        return self.root / "quarantine" / f"{bucket:03d}.parquet"

    def record(self, bucket: int) -> dict[str, Any]:
        """What a bucket's tables were made of; empty where it has none."""
        return read_json(self.record_path(bucket))

    def remove_bucket(self, bucket: int) -> None:
        """Remove the tables of a bucket that no symbol belongs to any more."""
        self.record_path(bucket).unlink(missing_ok=True)
        self.rejected_path(bucket).unlink(missing_ok=True)
        for kind in SCHEMAS:
            shutil.rmtree(self.root / kind / f"{bucket:03d}", ignore_errors=True)

    @property
    def universe_path(self) -> Path:
        """File of the universe as it was read."""
        return self.root / "universe.parquet"

    @property
    def universe(self) -> pl.DataFrame:
        """Columns of `universe.UNIVERSE`; no row without one."""
        return pl.read_parquet(self.universe_path, glob=False)

    @property
    def manifest(self) -> dict[str, Any]:
        """Symbols, names and facts of the last ingest that ended.

        Raises:
            DataError: when there was none.
        """
        return read_manifest(self.root / MANIFEST, "streamed market")

    @property
    def symbols(self) -> list[str]:
        """Those that have prices, in alphabetical order."""
        return list(self.manifest["symbols"])

    def scan(self, kind: Kind, symbols: Collection[str], years: range | None = None) -> pl.LazyFrame:
        """Rows of some symbols, by symbol and in order within each; nothing is read before it is collected.

        Args:
            kind: `prices` or `news`.
            symbols: whose.
            years: partitions to look into; None for all.
        """
        files = [file for bucket in sorted({*map(bucket_of, symbols)}) for file in self._files(kind, bucket, years)]
        if not files:
            return pl.LazyFrame(schema=SCHEMAS[kind])
        wanted = pl.scan_parquet(files, glob=False).filter(pl.col("symbol").is_in(sorted(symbols)))
        return wanted.sort("symbol", maintain_order=True)

    def _files(self, kind: Kind, bucket: int, years: range | None) -> Iterator[Path]:
        known = self.record(bucket).get(kind, {})
        for year in sorted(map(int, known)):
            if known[str(year)]["rows"] and (years is None or year in years):
                yield self.partition(kind, bucket, year)


def concat(parts: Sequence[pl.DataFrame], schema: Schema) -> pl.DataFrame:
    """Parts as one table, also when there is none."""
    return pl.concat([pl.DataFrame(schema=schema), *parts])
