"""Datasets that are folders: tables by symbol, backbones and policy bundles."""

from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import polars as pl
from kedro.io import AbstractDataset

from flag_kedro.data.whole import recover_folder, whole_folder
from flag_kedro.policy.manifest import verify_manifest, write_manifest


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
        with whole_folder(Path(self._filepath)) as temporary:
            data.write(temporary)
            write_manifest(temporary)

    def _exists(self) -> bool:
        return Path(self._filepath).is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class OptionalFolder(Folder):
    """A folder that need not be there: then it loads as None."""

    def load(self) -> Path | None:  # type: ignore[override]
        """Path of the folder, its files checked, or None."""
        recover_folder(Path(self._filepath))
        return super().load() if self._exists() else None


class GrowingFolder(Folder):
    """A folder of files that are each whole: saving adds what is missing, so that an interrupted one goes on."""

    def load(self) -> Path:
        """Path of the folder, made if absent."""
        path = Path(self._filepath)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def save(self, data: WritesFolder) -> None:
        """Let `data` add to the folder."""
        data.write(self.load())


class SymbolTables(AbstractDataset[dict[str, pl.DataFrame], dict[str, pl.DataFrame]]):
    """One Parquet file per symbol in a folder that is saved whole."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = PurePosixPath(filepath)
        self.metadata = metadata

    def load(self) -> dict[str, pl.DataFrame]:
        """The tables by symbol, in alphabetical order."""
        path = Path(self._filepath)
        recover_folder(path)
        return {file.stem: pl.read_parquet(file) for file in sorted(path.glob("*.parquet"))}

    def save(self, data: dict[str, pl.DataFrame]) -> None:
        """Write every table and swap the folder in."""
        with whole_folder(Path(self._filepath)) as temporary:
            for symbol, table in data.items():
                table.write_parquet(temporary / f"{symbol}.parquet")

    def _exists(self) -> bool:
        return any(Path(self._filepath).glob("*.parquet"))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
