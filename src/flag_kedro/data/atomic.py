"""Files and folders that are written whole or not at all.

A file is written beside its final name, synced and renamed over it; a folder is written aside and swapped in by
renames. Whoever reads sees the old content or the new, never half of one.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def sync(path: Path) -> None:
    """Flush a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling that replaces `path` if the block ends well and vanishes if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that replaces `path` if the block ends well and vanishes if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(path)
    _sweep(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            sync(file)
        sync(temporary)
        old = _old_name(path)
        if path.exists():
            os.rename(path, old)
        os.rename(temporary, path)
        sync(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Give `source` a second name, or copy it where the file system knows no second names.

    Raises:
        FileNotFoundError: when it is not there.
    """
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)


def recover_folder(path: Path) -> None:
    """Finish a swap of `path` that was cut between its two renames."""
    old = _old_name(path)
    if old.exists():
        if path.exists():
            shutil.rmtree(old)
        else:
            os.rename(old, path)


def _sweep(path: Path) -> None:
    """Remove what killed saves of `path` left behind; the run's lock sees to it that nobody is writing now."""
    for stale in path.parent.glob(f".{path.name}.{'[0-9a-f]' * 32}"):
        if stale.is_dir():
            shutil.rmtree(stale, ignore_errors=True)
        else:
            stale.unlink(missing_ok=True)


def _old_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")
