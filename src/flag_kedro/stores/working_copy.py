"""The data folder of a machine as a working copy of a store: brought up to date before a run, sent while it runs."""

import json
import logging
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from uuid import uuid4

from flag_kedro.data.atomic import atomic_folder, atomic_write, link_or_copy
from flag_kedro.errors import StoreError
from flag_kedro.policy.manifest import hash_file
from flag_kedro.stores.manifest import Entry
from flag_kedro.stores.object_store import ObjectStore
from flag_kedro.stores.snapshot import Stamp, UnsettledError, scan, staged

logger = logging.getLogger(__name__)
STATE, STAGED, REPLACED = ".store.json", ".store-staged", ".store-replaced"
TRIES, TRY_SECONDS = 20, 0.1
"""How often, and how soon, files are looked at again while somebody writes there."""


class SyncState:
    """What a data folder and its store had in common last, kept in the folder: a later run can tell which changed."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / STATE
        self._where = f"{socket.gethostname()}:{folder.resolve()}"
        try:
            found = json.loads(self._path.read_text())
            is_copied = found["where"] != self._where  # with its folder; the other one may be in use
            self.working_copy = uuid4().hex if is_copied else str(found["working_copy"])
            self.url = str(found["url"])
            self.files = {path: Entry(*entry) for path, entry in found["files"].items()}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            self.working_copy, self.url, self.files = uuid4().hex, "", dict[str, Entry]()

    def below(self, unit: str) -> dict[str, Entry]:
        """Entries of a file or of all files in a folder."""
        return {path: entry for path, entry in self.files.items() if path == unit or path.startswith(f"{unit}/")}

    def begin(self, url: str) -> None:
        """Remember what is in common with this store, and nothing of another."""
        if self.url != url:
            self.url, self.files = url, {}
        self.save()

    def note(self, units: Mapping[str, Mapping[str, Entry]]) -> None:
        """Remember that files and folders are in the store as `units` says."""
        gone = {path for unit in units for path in self.below(unit)}
        self.files = {path: entry for path, entry in self.files.items() if path not in gone}
        for unit in units.values():
            self.files.update(unit)
        self.save()

    def save(self) -> None:
        """Write it whole."""
        files = {path: [entry.sha256, entry.size] for path, entry in self.files.items()}
        facts = {"working_copy": self.working_copy, "where": self._where, "url": self.url, "files": files}
        with atomic_write(self._path) as temporary:
            temporary.write_text(json.dumps(facts))


class WorkingCopy:
    """Files and folders ("units", named by their path below the data folder) between a data folder and a store."""

    def __init__(self, folder: Path, state: SyncState, store: ObjectStore) -> None:
        self._folder, self._state, self._store = folder, state, store
        self._hashed: dict[Path, tuple[Stamp, Entry]] = {}
        shutil.rmtree(folder / STAGED, ignore_errors=True)
        state.begin(store.place.url)

    def reconcile(self, unit: str) -> None:
        """Make data folder and store agree on a unit.

        What the store has counts. What only the data folder has, since the run that made it could not send it, is
        sent; where both have changed since they agreed last, the data folder's is moved to `.store-replaced`.

        Raises:
            DataError: when the store has lost or damaged an object.
            StoreError: when the store does not answer, or another run has taken it over.
        """
        here, there, before = self._entries(unit), self._store.manifest.below(unit), self._state.below(unit)
        if here == there:
            if there != before:
                self._state.note({unit: there})
        elif here and there == before:
            logger.info("%s was not sent to the store by the run that wrote it; it is sent now", unit)
            self.commit([unit])
        else:
            if here and here != before:
                self._put_aside(unit)
            self._fetch(unit, there)

    def commit(self, units: Sequence[str], *, patient: bool = True) -> None:
        """Send units to the store, all at once; those that are as the store has them cost a look.

        Args:
            units: paths below the data folder.
            patient: whether to wait until nobody writes there; else a unit in which somebody does is left out.

        Raises:
            StoreError: when the store does not answer, or another run has taken it over; when writing never ends.
        """
        changed: dict[str, dict[str, Entry]] = {}
        sources: dict[str, Path] = {}
        with ExitStack() as stages:
            for unit in units:
                taken = self._take(unit, stages, patient=patient)
                if taken is not None and taken[0] != self._store.manifest.below(unit):
                    changed[unit] = taken[0]
                    sources |= taken[1]
            if changed:
                self._store.commit(changed, sources)
                self._state.note(changed)

    def _take(self, unit: str, stages: ExitStack, *, patient: bool) -> tuple[dict[str, Entry], dict[str, Path]] | None:
        """Entries of a unit, and files that stay as they are while `stages` is open, by the hash of those not sent."""
        path, sent = self._folder / unit, self._store.manifest.objects()
        for _ in range(TRIES if patient else 1):
            found = scan(path)
            known = {name: self._known(path / name if name else path, stamp) for name, stamp in found.items()}
            wanted = [name for name, entry in known.items() if entry is None or entry.object_name not in sent]
            try:
                files = stages.enter_context(staged(path, found, wanted, self._folder / STAGED))
            except UnsettledError:
                time.sleep(TRY_SECONDS if patient else 0)
                continue
            entries, sources = {}, {}
            for name, stamp in found.items():
                entry = known[name] or Entry(hash_file(files[name]), stamp.size)
                self._hashed[path / name if name else path] = stamp, entry
                entries[f"{unit}/{name}" if name else unit] = entry
                if name in files:
                    sources[entry.sha256] = files[name]
            return entries, sources
        if patient:
            raise StoreError(f"{path} is being written to all the time by somebody else, so that it cannot be sent")
        return None

    def _known(self, path: Path, stamp: Stamp) -> Entry | None:
        """Entry of a file that was hashed before and has not changed."""
        before = self._hashed.get(path)
        return before[1] if before is not None and before[0] == stamp else None

    def _entries(self, unit: str) -> dict[str, Entry]:
        """What the data folder has of a unit."""
        path = self._folder / unit
        entries = {}
        for name, stamp in scan(path).items():
            file = path / name if name else path
            entry = self._known(file, stamp) or Entry(hash_file(file), stamp.size)
            self._hashed[file] = stamp, entry
            entries[f"{unit}/{name}" if name else unit] = entry
        return entries

    def _put_aside(self, unit: str) -> None:
        first = target = self._folder / REPLACED / unit
        for number in count(2):
            if not target.exists():
                break
            target = first.with_name(f"{first.name}.{number}")
        target.parent.mkdir(parents=True, exist_ok=True)
        (self._folder / unit).rename(target)
        logger.warning(
            "%s was written here and elsewhere since it was sent last; what the store has counts, what was here is "
            "in %s", unit, target,
        )  # fmt: skip

    def _fetch(self, unit: str, entries: Mapping[str, Entry]) -> None:
        """Replace a unit by what the store has, in one step."""
        path = self._folder / unit
        if unit in entries:
            with atomic_write(path) as temporary:
                self._store.fetch({temporary: entries[unit]})
        elif entries:
            with atomic_folder(path) as temporary:
                self._fill(temporary, unit, entries)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        self._state.note({unit: entries})

    def _fill(self, target: Path, unit: str, entries: Mapping[str, Entry]) -> None:
        """Put files of a folder into another: those that are here already by a second name, others from the store."""
        here, missing = self._entries(unit), dict[Path, Entry]()
        for name, entry in entries.items():
            file = target / name.removeprefix(f"{unit}/")
            file.parent.mkdir(parents=True, exist_ok=True)
            if here.get(name) == entry:
                link_or_copy(self._folder / name, file)
            else:
                missing[file] = entry
        self._store.fetch(missing)
