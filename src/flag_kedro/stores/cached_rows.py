"""Folders of files that are never replaced by others: sent and fetched one by one, without the manifest.

Each file is named by all that it was made of, and checked by whoever reads it. So it does no harm that several runs
write there at once, and a folder may have more files than a manifest should name.
"""

import logging
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

from flag_kedro.data.atomic import link_or_copy
from flag_kedro.stores.place import Place
from flag_kedro.stores.snapshot import Stamp, scan

logger = logging.getLogger(__name__)
STAGE = ".store-"
"""Begins the names of folders in which files wait to be sent or to be whole."""


class CachedRows:
    """The files of one folder here and in the store."""

    def __init__(self, name: str, path: Path, place: Place) -> None:
        """Nothing is known yet.

        Args:
            name: of the folder in the store.
            path: of the folder here.
            place: of the store.
        """
        self._path, self._place, self._prefix = path, place, f"rows/{name}/"
        self._sent: dict[str, Stamp] = {}

    def fetch(self) -> None:
        """Get every file that is not here.

        Raises:
            StoreError: when the store does not answer.
        """
        stored = {name.removeprefix(self._prefix) for name in self._place.names(self._prefix.rstrip("/"))}
        missing = sorted(stored - scan(self._path).keys())
        stage = self._new_stage()
        try:
            files = {name: stage / str(at) for at, name in enumerate(missing)}
            self._place.download({f"{self._prefix}{name}": file for name, file in files.items()})
            for name, file in files.items():
                target = self._path / name
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
        self._sent = {name: stamp for name, stamp in scan(self._path).items() if name in stored}
        if missing:
            logger.info("%d of %d files in %s came from the store", len(missing), len(stored), self._path)

    def send(self) -> None:
        """Send every file that is new, or was made again because it was damaged.

        Raises:
            StoreError: when the store does not answer.
        """
        new = {name: stamp for name, stamp in scan(self._path).items() if self._sent.get(name) != stamp}
        if not new:
            return
        stage = self._new_stage()
        try:
            files = {}
            for at, name in enumerate(new):
                with suppress(FileNotFoundError):  # removed as damaged meanwhile; made again, it is sent next time
                    link_or_copy(self._path / name, stage / str(at))
                    files[name] = stage / str(at)
            self._place.upload({f"{self._prefix}{name}": file for name, file in files.items()})
        finally:
            shutil.rmtree(stage, ignore_errors=True)
        self._sent |= {name: new[name] for name in files}

    def _new_stage(self) -> Path:
        self._path.mkdir(parents=True, exist_ok=True)
        return Path(mkdtemp(prefix=STAGE, dir=self._path))
