"""The store of downloads on disk: `prices/SYMBOL.parquet`, `news/SYMBOL.parquet`, `revisions/` and `store.json`.

Every file is whole at any moment. What is about to be written is announced in `pending.json` with its hash, so that
after a kill the file is either the one that `store.json` lists or the one that was announced.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import polars as pl
from filelock import FileLock, Timeout

from flag_kedro.data.atomic import atomic_write
from flag_kedro.errors import DataError

Kind = Literal["prices", "news"]
MANIFEST, PENDING, LOCK = "store.json", "pending.json", ".lock"
LEFTOVER = re.compile(r"\..+\.[0-9a-f]{32}")
"""Names of files that a killed save left behind."""


@dataclass(frozen=True)
class YahooStore:
    """The store's folder and the content of its `store.json`."""

    folder: Path
    symbols: dict[str, dict[str, Any]]
    """By symbol and kind: `sha256` of the file, `rows`, and the facts that were given with it."""

    def entry(self, symbol: str, kind: Kind) -> dict[str, Any] | None:
        """Entry of a table in `store.json`; None when there is none, or its file was removed by hand."""
        entry: dict[str, Any] | None = self.symbols.get(symbol, {}).get(kind)
        return entry if entry is not None and self.path(symbol, kind).is_file() else None

    def read(self, symbol: str, kind: Kind) -> pl.DataFrame | None:
        """A table once its hash is right; None when there is none.

        A download that ended after `store.json` was read is no damage: its entry for the table is taken then.

        Raises:
            DataError: when the file is not what the download wrote, or a download is under way.
        """
        try:
            return self._read(symbol, kind)
        except DataError:
            entry = load_store(self.folder).symbols.get(symbol, {}).get(kind)
            if entry is None or entry == self.symbols.get(symbol, {}).get(kind):
                raise
            self.symbols.setdefault(symbol, {})[kind] = entry
            return self._read(symbol, kind)

    def _read(self, symbol: str, kind: Kind) -> pl.DataFrame | None:
        path, entry = self.path(symbol, kind), self.entry(symbol, kind)
        if entry is None:
            if path.is_file():
                raise DataError(
                    f"{symbol}: {self.folder / MANIFEST} knows nothing of {path}; bring the store.json back that "
                    "belongs to it, or remove the file to download it anew"
                )
            return None
        content = path.read_bytes()
        if sha256(content).hexdigest() != entry["sha256"]:
            raise DataError(
                f"{symbol}: {path} was changed or damaged since it was downloaded (its sha256 is not the one in "
                f"{MANIFEST}); remove the file to download it anew, or bring a copy back"
            )
        return pl.read_parquet(BytesIO(content))

    def write(
        self,
        symbol: str,
        kind: Kind,
        table: pl.DataFrame,
        facts: dict[str, Any],
        revision: tuple[str, pl.DataFrame] | None = None,
    ) -> None:
        """Put a table and its entry into the store.

        Args:
            symbol: whose table it is.
            kind: which of its tables.
            table: all its rows.
            facts: for its entry, fit for JSON.
            revision: name in `revisions/` and the rows as they were before.
        """
        buffer = BytesIO()
        table.write_parquet(buffer)
        entry = {"sha256": sha256(buffer.getvalue()).hexdigest(), "rows": table.height} | facts
        name = revision[0] if revision else None
        _write_json(self.folder / PENDING, {"symbol": symbol, "kind": kind, "entry": entry, "revision": name})
        if revision is not None:
            with atomic_write(self.folder / "revisions" / revision[0]) as path:
                revision[1].write_parquet(path)
        with atomic_write(self.path(symbol, kind)) as path:
            path.write_bytes(buffer.getvalue())
        self._adopt(symbol, kind, entry)

    def path(self, symbol: str, kind: Kind) -> Path:
        """File of a table."""
        return self.folder / kind / f"{symbol}.parquet"

    def recover(self) -> None:
        """Finish or undo what a kill interrupted, and remove what it left behind.

        Raises:
            DataError: when `pending.json` is not readable.
        """
        for path in self.folder.rglob(".*"):
            if LEFTOVER.fullmatch(path.name):
                path.unlink()
        pending = self.folder / PENDING
        if not pending.is_file():
            return
        try:
            announced = json.loads(pending.read_text())
            symbol, kind, entry = announced["symbol"], announced["kind"], announced["entry"]
            announced_hash, revision = entry["sha256"], announced["revision"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{pending} does not say what was about to be written ({type(error).__name__}: {error}); remove it, "
                f"and a file that is not what {MANIFEST} knows will be named by the next run"
            ) from error
        path = self.path(symbol, kind)
        if path.is_file() and sha256(path.read_bytes()).hexdigest() == announced_hash:
            self._adopt(symbol, kind, entry)
            return
        if revision is not None:
            (self.folder / "revisions" / revision).unlink(missing_ok=True)
        pending.unlink()

    def _adopt(self, symbol: str, kind: Kind, entry: dict[str, Any]) -> None:
        self.symbols.setdefault(symbol, {})[kind] = entry
        _write_json(self.folder / MANIFEST, {"symbols": self.symbols})
        (self.folder / PENDING).unlink()


def load_store(folder: Path) -> YahooStore:
    """The store, to read, with what a kill interrupted set right; an empty one when there is none.

    Raises:
        DataError: when `store.json` or `pending.json` is not readable, or a download is under way.
    """
    if (folder / PENDING).is_file():
        with locked_store(folder) as store:
            return store
    return _load(folder)


@contextmanager
def locked_store(folder: Path) -> Iterator[YahooStore]:
    """The store, to write to, with what a kill interrupted set right.

    Raises:
        DataError: at once, when another download is writing to it; or when `store.json` or `pending.json` is not
            readable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DataError(f"{folder}: another download is writing to this store; wait until it has ended") from error
    try:
        store = _load(folder)
        store.recover()
        yield store
    finally:
        lock.release()


def _load(folder: Path) -> YahooStore:
    path = folder / MANIFEST
    if not path.is_file():
        return YahooStore(folder, {})
    try:
        return YahooStore(folder, dict(json.loads(path.read_text())["symbols"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no list of what was downloaded ({type(error).__name__}: {error}); bring a copy back, or remove "
            f"{folder} to download all anew"
        ) from error


def _write_json(path: Path, content: Any) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False))
