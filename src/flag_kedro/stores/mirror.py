"""A run's data folder kept in a store while the run goes on: by its own calls between nodes, by threads meanwhile."""

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flag_kedro.errors import StoreError
from flag_kedro.stores.cached_rows import CachedRows
from flag_kedro.stores.config import StoreConfig
from flag_kedro.stores.object_store import ObjectStore
from flag_kedro.stores.place import open_place
from flag_kedro.stores.working_copy import SyncState, WorkingCopy

logger = logging.getLogger(__name__)
RENEWALS = 3
"""Per lease: two may fail."""


@dataclass(frozen=True)
class Units:
    """What a run reads and writes, by path below the data folder."""

    read: Sequence[str] = ()
    """Files and folders that must be there before the run begins, besides those below."""
    growing: Sequence[str] = ()
    """Folders whose files are each whole, sent while nodes run."""
    kept: Sequence[str] = ()
    """Files and folders that nodes write to in place, sent between nodes."""
    rows: Mapping[str, Path] = field(default_factory=dict)
    """Folders of files that are never replaced, by their name in the store."""


class Mirror:
    """Holds the lease of a store and sends to it what a run writes, from `begin` to `end`."""

    def __init__(self, folder: Path, url: str, config: StoreConfig, on_failure: Callable[[str], None]) -> None:
        """Open the store's place; nothing is read yet.

        Args:
            folder: the data folder, whose lock the caller holds.
            url: of the store.
            config: the parameters.
            on_failure: called in another thread with what went wrong there; the run should stop.

        Raises:
            ParameterError: when the address is none.
        """
        folder.mkdir(parents=True, exist_ok=True)
        state = SyncState(folder)
        owner = f"process {os.getpid()} on {socket.gethostname()}, which works in {folder}"
        self._store = ObjectStore(open_place(url), owner, state.working_copy, config.lease_seconds)
        self._folder, self._state, self._config, self._on_failure = folder, state, config, on_failure
        self._units = Units()
        self._copy: WorkingCopy | None = None
        self._rows: list[CachedRows] = []
        self._sending = threading.RLock()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._failure: Exception | None = None

    def begin(self, units: Units) -> None:
        """Take the store, bring the data folder up to date and keep both in step.

        Raises:
            BusyError: when another run holds the store.
            DataError: when the store has lost or damaged an object.
            StoreError: when it does not answer.
        """
        self._store.acquire()
        self._start(self._renew, self._config.lease_seconds / RENEWALS, "lease")
        try:
            self._store.sweep()
            copy = WorkingCopy(self._folder, self._state, self._store)
            for unit in dict.fromkeys((*units.read, *units.growing, *units.kept)):
                copy.reconcile(unit)
            self._rows = [CachedRows(name, path, self._store.place) for name, path in units.rows.items()]
            for rows in self._rows:
                rows.fetch()
            self._units, self._copy = units, copy
        except BaseException:
            self.end(failed=True)
            raise
        self._start(self._send_growing, self._config.sync_seconds, "store")

    def send(self, *units: str) -> None:
        """Send units that were just saved, and all that grows.

        Raises:
            StoreError: when the store does not answer, or was lost to another run.
        """
        self.check()
        assert self._copy is not None, "begin first"
        with self._sending:
            self._copy.commit([*units, *self._units.growing, *self._units.kept])
            for rows in self._rows:
                rows.send()

    def check(self) -> None:
        """Stop here if a thread could not go on.

        Raises:
            StoreError: then.
        """
        if self._failure is not None:
            raise self._failure

    def end(self, *, failed: bool = False) -> None:
        """Send what is left and give the store back, once; a run that failed does as much of it as can be done.

        Raises:
            StoreError: when the store does not answer, unless the run failed anyway.
        """
        if self._over.is_set():
            return
        try:
            if self._copy is not None and self._failure is None:
                self.send()
        except StoreError as error:
            self._failure = error
            if not failed:
                raise
            logger.warning("not all was sent: %s", error)
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()
            if self._failure is None:
                self._give_back(failed=failed)

    def _give_back(self, *, failed: bool) -> None:
        try:
            self._store.release()
        except StoreError:
            if not failed:
                raise

    def _renew(self) -> None:
        try:
            self._store.renew()
        except StoreError as error:
            if self._store.is_lost:
                raise
            logger.warning("the lease was not renewed: %s", error)

    def _send_growing(self) -> None:
        assert self._copy is not None, "begin first"
        with self._sending:
            self._copy.commit(self._units.growing, patient=False)
            for rows in self._rows:
                rows.send()

    def _start(self, work: Callable[[], None], pause: float, name: str) -> None:
        def loop() -> None:
            while not self._over.wait(pause):
                try:
                    work()
                except Exception as error:
                    self._failure = self._failure or error
                    self._on_failure(f"the run cannot go on without its store: {error}")
                    return

        thread = threading.Thread(target=loop, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
