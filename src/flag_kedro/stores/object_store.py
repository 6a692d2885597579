"""The store as one run holds it: under a lease, changed whole or not at all."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from threading import RLock

from flag_kedro.errors import BusyError, DataError, StoreError
from flag_kedro.policy.manifest import hash_file
from flag_kedro.stores.manifest import MANIFEST, Entry, Lease, Manifest
from flag_kedro.stores.place import OutrunError, Place

logger = logging.getLogger(__name__)
OBJECTS = "objects"
LOOK_SECONDS = 0.5
"""Pause between two looks at a lease that may be a dead run's."""
WRITES = 5
"""How often a change is tried that is refused though nobody else has written."""


class ObjectStore:
    """Content by hash, and a manifest that every change replaces on the condition that nobody else has.

    The lease is part of the manifest: whoever takes the store over changes it, so that the run before can change
    nothing any more, however late it notices.
    """

    def __init__(
        self, place: Place, owner: str, working_copy: str, seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        """Nothing is read yet.

        Args:
            place: where objects are.
            owner: what others are told.
            working_copy: of the data folder, whose lock the caller holds.
            seconds: how long the lease holds without being renewed.
            clock: seconds since 1970.
        """
        self.place = place
        self.manifest = Manifest()
        self._owner, self._working_copy, self._nonce = owner, working_copy, token_hex(8)
        self._seconds, self._clock = seconds, clock
        self._version: str | None = None
        self._taken_by: str | None = None
        self._dropped: set[str] = set()
        self._writing = RLock()

    @property
    def is_lost(self) -> bool:
        """Whether another run has taken the store over."""
        return self._taken_by is not None

    def acquire(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Take the lease; one that nobody renews is waited for.

        Raises:
            BusyError: when another run holds it and is alive, naming it.
            StoreError: when the store does not answer.
        """
        waited: Lease | None = None
        while True:
            self._read()
            held = self.manifest.lease
            if held is None or held.working_copy == self._working_copy or held.expires <= self._clock():
                try:
                    self._write(replace(self.manifest, lease=self._lease()))
                except OutrunError:
                    continue
                self._check_conditions()
                if held is not None:
                    logger.warning("the store was held by %s, which is gone; it is taken over", held.owner)
                return
            if waited is not None and held != waited:
                raise BusyError(
                    f"another run is using {self.place.url}: {held.owner}, whose lease holds until "
                    f"{_time(held.expires)}; wait for it, or use a store of your own with --params=store_url=URL"
                )
            if waited is None:
                waited = held
                logger.info(
                    "%s is held by %s; waiting until %s at most to see whether it is alive",
                    self.place.url, held.owner, _time(held.expires),
                )  # fmt: skip
            sleep(LOOK_SECONDS)

    def renew(self) -> None:
        """Prolong the lease.

        Raises:
            StoreError: when another run has taken the store over, or it does not answer.
        """
        self._change(lambda manifest: replace(manifest, lease=self._lease()))

    def release(self) -> None:
        """Give the lease back.

        Raises:
            StoreError: when another run has taken the store over, or it does not answer.
        """
        self._change(lambda manifest: replace(manifest, lease=None))

    def commit(self, units: Mapping[str, Mapping[str, Entry]], sources: Mapping[str, Path]) -> None:
        """Let files and folders be as `units` says, all at once.

        Args:
            units: entries by path for every file or folder that is replaced.
            sources: files that have the content, by sha256; what the store has already is not sent.

        Raises:
            StoreError: when another run has taken the store over, or it does not answer; then nothing is changed.
        """
        have = self.manifest.objects()
        entries = {entry.object_name: entry for unit in units.values() for entry in unit.values()}
        self.place.upload({name: sources[entry.sha256] for name, entry in entries.items() if name not in have})
        with self._writing:
            before = self.manifest.objects()
            self._change(lambda manifest: replace(manifest.with_units(units), lease=self._lease()))
            now = self.manifest.objects()
            self.place.remove(self._dropped - now)  # of the change before: who reads has had time since
            self._dropped = before - now

    def fetch(self, files: Mapping[Path, Entry]) -> None:
        """Write content into files, each checked.

        Raises:
            DataError: when an object is missing or damaged.
            StoreError: when the store does not answer.
        """
        firsts = {entry: path for path, entry in files.items()}
        try:
            self.place.download({entry.object_name: path for entry, path in firsts.items()})
            for path, entry in files.items():
                if path != firsts[entry]:
                    path.write_bytes(firsts[entry].read_bytes())
        except FileNotFoundError as error:
            raise DataError(
                f"the store {self.place.url} has lost an object that its manifest names ({error}); run the pipeline "
                "that makes it again"
            ) from error
        for path, entry in files.items():
            if hash_file(path) != entry.sha256:
                raise DataError(
                    f"{self.place.url}/{entry.object_name} is damaged: its sha256 is another; remove that object, and "
                    "run the pipeline that makes it again"
                )

    def sweep(self) -> None:
        """Remove objects that no file has: of killed runs, and of versions that were replaced.

        Raises:
            StoreError: when another run has taken the store over, whose objects these may be, or it does not answer.
        """
        found = self.place.names(OBJECTS)
        self.renew()  # so all of them are older than whatever another run may write
        self.place.remove(found - self.manifest.objects())

    def _check_conditions(self) -> None:
        """Find out whether the place refuses writes that come too late; one that lets them through changes nothing.

        Raises:
            StoreError: when it does not.
        """
        for outdated in (None, f'"{"0" * 32}"'):
            try:
                self.place.swap(MANIFEST, self.manifest.to_bytes(), outdated)
            except OutrunError:
                continue
            raise StoreError(
                f"{self.place.url} does not know conditional writes (If-Match, If-None-Match), without which two runs "
                "could overwrite each other; name a store that does, as Amazon's S3 or file:///FOLDER"
            )

    def _lease(self) -> Lease:
        return Lease(self._owner, self._working_copy, self._nonce, self._clock() + self._seconds)

    def _change(self, update: Callable[[Manifest], Manifest]) -> None:
        """Replace the manifest, unless another run has since this one read or wrote it.

        Raises:
            StoreError: then, and ever after; when the store refuses every write though nobody else has written.
        """
        with self._writing:
            for _ in range(WRITES if self._taken_by is None else 0):
                try:
                    self._write(update(self.manifest))
                    return
                except OutrunError:
                    self._look_who_wrote()
                if self._taken_by is not None:
                    break
                time.sleep(LOOK_SECONDS)
        if self._taken_by is None:
            raise StoreError(
                f"the store {self.place.url} refuses writes though no other run has written; give the command again"
            )
        raise StoreError(
            f"the store {self.place.url} was taken over by {self._taken_by}, since this run's lease ran out; nothing "
            "more is written. What was computed is in the data folder; once the other is done, the same command goes "
            "on from what the store has"
        )

    def _look_who_wrote(self) -> None:
        """After a write that came too late: go on from what this run itself wrote, or note who has the store.

        An earlier write of this run may have arrived though its answer did not; and S3 refuses (409) one of two
        writes at the same time even if the other fails, too.
        """
        held = self.place.read(MANIFEST)
        found = None if held is None else Manifest.from_bytes(held.content, self.place.url)
        if held is None or found is None:
            self._taken_by = "somebody who removed its manifest"
        elif found.lease is None:
            self._taken_by = "another run, which has ended"
        elif found.lease.nonce == self._nonce:
            self.manifest, self._version = found, held.version
        else:
            self._taken_by = found.lease.owner

    def _write(self, manifest: Manifest) -> None:
        """Replace the manifest if it is as it was read.

        Raises:
            OutrunError: when it is not.
        """
        manifest = replace(manifest, serial=self.manifest.serial + 1)
        content = manifest.to_bytes()
        with self._writing:
            try:
                self._version = self.place.swap(MANIFEST, content, self._version)
            except OutrunError:  # maybe by this very write, whose answer was lost before it was repeated
                held = self.place.read(MANIFEST)
                if held is None or held.content != content:
                    raise
                self._version = held.version
            self.manifest = manifest

    def _read(self) -> None:
        held = self.place.read(MANIFEST)
        self._version = None if held is None else held.version
        self.manifest = Manifest() if held is None else Manifest.from_bytes(held.content, self.place.url)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
