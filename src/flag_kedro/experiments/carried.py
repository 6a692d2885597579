"""Folders of the machine where a command was started, as tasks on other machines have them."""

import io
import tarfile
import tempfile
from dataclasses import dataclass
from functools import cache
from getpass import getuser
from pathlib import Path
from typing import Any

from flag_kedro.errors import DataError
from flag_kedro.policy.backbone_cache import made_once
from flag_kedro.policy.manifest import MANIFEST, folder_hash, verify_manifest


@dataclass(frozen=True)
class CarriedFolder:
    """A folder with a manifest: taken where it lies if it lies there, else unpacked once a node."""

    path: Path
    content_hash: str
    """See `manifest.folder_hash`."""
    content: Any
    """Reference of Ray's object store to the bytes of `pack_folder`; None where all tasks see `path`."""

    def here(self) -> Path:
        """The folder on this node.

        Raises:
            DataError: when it is not here and was not carried.
        """
        if _holds(self.path, self.content_hash):
            return self.path
        if self.content is None:
            raise DataError(
                f"{self.path} changed while tasks read it; wait for the other run, then start this one again"
            )
        return made_once(f"carried-{self.content_hash[:16]}", self._unpack)

    def _unpack(self, folder: Path) -> None:
        import ray

        unpack_folder(ray.get(self.content), folder)
        verify_manifest(folder)


@dataclass(frozen=True)
class SeenFolder:
    """A folder that a task uses if its node sees the very one that was meant."""

    path: Path
    mark: str | None
    """A file in it by which nodes know it; None where all tasks are on its machine."""

    def here(self) -> Path | None:
        """The folder, None on a node that does not see it."""
        return self.path if self.mark is None or (self.path / self.mark).is_file() else None


def node_folder(name: str) -> Path:
    """A folder of this node's own, which all its tasks share."""
    folder = Path(tempfile.gettempdir()) / f"flag_kedro-{getuser()}" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def pack_folder(folder: Path) -> bytes:
    """All files of a folder and its manifest, as an uncompressed tar."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(folder, arcname=".")
    return stream.getvalue()


def unpack_folder(content: bytes, folder: Path) -> None:
    """Write into `folder` what `pack_folder` read."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        tar.extractall(folder, filter="data")


@cache
def _holds(path: Path, content_hash: str) -> bool:
    """Whether a folder is there, whole, with this content; its bytes are read once a process."""
    if not (path / MANIFEST).is_file() or folder_hash(path) != content_hash:
        return False
    try:
        verify_manifest(path)
    except DataError:
        return False
    return True
