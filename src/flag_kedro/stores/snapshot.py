"""Files of a folder as they were at one moment, while others may be writing there."""

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from flag_kedro.data.atomic import link_or_copy

SHOWN = ".finished"
"""The only hidden file that counts: others are temporary, or were left behind by a kill."""


class UnsettledError(Exception):
    """Somebody is writing there just now."""


@dataclass(frozen=True)
class Stamp:
    """What changes when a file is replaced or written to."""

    inode: int
    size: int
    mtime_ns: int


def scan(path: Path) -> dict[str, Stamp]:
    """Stamps of a file (as `""`) or of all files below a folder by relative path, without locks and temporary files."""
    if path.is_file():
        return {"": _stamp(path.stat())}
    return dict(_below(path, ""))


@contextmanager
def staged(path: Path, found: Mapping[str, Stamp], names: Collection[str], folder: Path) -> Iterator[dict[str, Path]]:
    """Second names for files, under which they stay in the block though others replace them.

    Args:
        path: a file or folder.
        found: what `scan` has found there.
        names: of the files that are wanted.
        folder: on the same disk, for the second names.

    Yields:
        Files by relative path.

    Raises:
        UnsettledError: when anything there has changed since.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stage = Path(mkdtemp(dir=folder))
    try:
        files = {name: stage / str(at) for at, name in enumerate(names)}
        try:
            for name, file in files.items():
                link_or_copy(path / name if name else path, file)
        except FileNotFoundError as error:
            raise UnsettledError from error
        if scan(path) != found:
            raise UnsettledError
        yield files
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _below(path: Path, prefix: str) -> Iterator[tuple[str, Stamp]]:
    try:
        with os.scandir(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in found:
        if (entry.name.startswith(".") and entry.name != SHOWN) or entry.name.endswith(".lock"):
            continue
        if entry.is_dir():
            yield from _below(path / entry.name, f"{prefix}{entry.name}/")
        else:
            try:
                yield f"{prefix}{entry.name}", _stamp(entry.stat())
            except FileNotFoundError:
                continue


def _stamp(stat: os.stat_result) -> Stamp:
    return Stamp(stat.st_ino, stat.st_size, stat.st_mtime_ns)
