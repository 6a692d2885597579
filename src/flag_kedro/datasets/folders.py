"""Datasets that are folders: tables by symbol, backbones and policy bundles."""

import hashlib
import json
import logging
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import polars as pl
from kedro.io import AbstractDataset

from flag_kedro.data.atomic import atomic_folder, link_or_copy, recover_folder
from flag_kedro.features.incremental import Record, StatesUpdate
from flag_kedro.policy.manifest import verify_manifest, write_manifest

logger = logging.getLogger(__name__)
RECORDS = "fingerprints.json"


class WritesFolder(Protocol):
    """Something that can put itself into an empty folder."""

    def write(self, folder: Path) -> None:
        """Write all files into `folder`."""


class Folder(AbstractDataset[WritesFolder, Path]):
    """A folder with a manifest: saved whole, loaded as its path once every hash is right."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = PurePosixPath(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """Path of the folder, its files checked."""
        path = Path(self._filepath)
        recover_folder(path)
        verify_manifest(path)
        return path

    def save(self, data: WritesFolder) -> None:
        """Let `data` write a folder and swap it in."""
        with atomic_folder(Path(self._filepath)) as temporary:
            data.write(temporary)
            write_manifest(temporary)

    def _exists(self) -> bool:
        return Path(self._filepath).is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class OptionalFolder(Folder):
    """A folder that need not be there: then it loads as None."""

    may_be_absent = True

    def load(self) -> Path | None:  # type: ignore[override]
        """Path of the folder, its files checked, or None."""
        recover_folder(Path(self._filepath))
        return super().load() if self._exists() else None


class GrowingFolder(Folder):
    """A folder of files that are each whole: saving adds what is missing, so that an interrupted one goes on."""

    may_be_absent = True

    def load(self) -> Path:
        """Path of the folder, made if absent."""
        path = Path(self._filepath)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def save(self, data: WritesFolder) -> None:
        """Let `data` add to the folder."""
        data.write(self.load())


class CacheFolder(GrowingFolder):
    """A growing folder of files that are never replaced by others: each is named by all that it was made of."""


class KeptFolder(GrowingFolder):
    """A folder that its user makes and keeps; it need not be there."""

    def load(self) -> Path:
        """Path of the folder."""
        return Path(self._filepath)


class KeptFile(KeptFolder):
    """A file that its user appends to and reads, which need not be there; loaded as its path."""


class SymbolTables(AbstractDataset[dict[str, pl.DataFrame] | StatesUpdate, dict[str, pl.DataFrame]]):
    """One Parquet file per symbol in a folder that is saved whole, with notes on what each was made of."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = PurePosixPath(filepath)
        self.metadata = metadata

    def load(self) -> dict[str, pl.DataFrame]:
        """The tables by symbol, in alphabetical order."""
        path = Path(self._filepath)
        recover_folder(path)
        return {file.stem: pl.read_parquet(file) for file in sorted(path.glob("*.parquet"))}

    def save(self, data: dict[str, pl.DataFrame] | StatesUpdate) -> None:
        """Write every table that is given, keep those of an update that are not, and swap the folder in."""
        update = data if isinstance(data, StatesUpdate) else StatesUpdate(data, {symbol: {} for symbol in data})
        path = Path(self._filepath)
        with atomic_folder(path) as temporary:
            records = {}
            for symbol, record in update.records.items():
                file = temporary / f"{symbol}.parquet"
                if symbol in update.tables:
                    update.tables[symbol].write_parquet(file)
                    record = record | {"sha256": _sha256(file)}
                else:
                    link_or_copy(path / file.name, file)
                records[symbol] = record
            (temporary / RECORDS).write_text(json.dumps(records, indent=1))

    def _exists(self) -> bool:
        return any(Path(self._filepath).glob("*.parquet"))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class SymbolRecords(AbstractDataset[None, dict[str, Record]]):
    """The notes that `SymbolTables` keeps in the same folder; a table that is not as it was saved has none."""

    may_be_absent = True

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = PurePosixPath(filepath)
        self.metadata = metadata

    def load(self) -> dict[str, Record]:
        """Notes by symbol; none where there is no folder yet, or its notes cannot be read."""
        path = Path(self._filepath)
        recover_folder(path)
        try:
            records = json.loads((path / RECORDS).read_text())
            whole = {
                symbol: _is_whole(path / f"{symbol}.parquet", record["sha256"]) for symbol, record in records.items()
            }
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s cannot be read (%r); all tables are made anew", path / RECORDS, error)
            return {}
        for symbol in (symbol for symbol in records if not whole[symbol]):
            logger.warning("%s is not as it was saved; it is made anew", path / f"{symbol}.parquet")
        return {symbol: record for symbol, record in records.items() if whole[symbol]}

    def save(self, data: None) -> None:
        """Refused: notes are saved with the tables."""
        raise NotImplementedError("notes are saved by SymbolTables")

    def _exists(self) -> bool:
        return (Path(self._filepath) / RECORDS).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_whole(file: Path, sha256: str) -> bool:
    return file.is_file() and _sha256(file) == sha256
