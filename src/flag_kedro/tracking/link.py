"""The link to a tracking store: calls end in time, and what cannot be sent is kept in a journal."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

from mlflow.entities import Run
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from mlflow.store.db.db_types import SQLITE
from sqlalchemy.exc import SQLAlchemyError

from flag_kedro.errors import RunInterrupted
from flag_kedro.tracking.calls import is_refusal, make
from flag_kedro.tracking.deadline import within
from flag_kedro.tracking.journal import Call, Journal

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
LOSSES = (MlflowException, SQLAlchemyError, OSError, TimeoutError)
"""What is raised where a store does not answer; `is_refusal` tells those apart that were an answer."""
NO_SUCH_QUESTION = "ENDPOINT_NOT_FOUND"
"""How MLflow calls it when a server does not know a kind of question, as older ones do not know models of runs."""
PATIENCE = 120.0
"""Seconds after which a lost store is tried again."""
SECONDS_FOR_A_FILE = 60.0
"""How long a call to a database file of this machine may take: its disk may be busy, but nobody is away."""
BYTES_PER_SECOND = 1_000_000
"""Speed at which files must arrive at the least."""


def seconds_per_call() -> float:
    """How long a call to a server may take: MLflow's own MLFLOW_HTTP_REQUEST_TIMEOUT."""
    return float(MLFLOW_HTTP_REQUEST_TIMEOUT.get())  # type: ignore[no-untyped-call]


class Link:
    """Makes calls to a store; once one was lost, calls that write are kept and those that read fail at once.

    A lost store is tried again after `PATIENCE`, then after twice as long, and so on: what a dead server costs a run
    grows with the logarithm of its length.
    """

    def __init__(self, store: Any, folder: Path | None = None) -> None:
        """Take the store for reachable.

        Args:
            store: MLflow's.
            folder: where what cannot be sent is kept; without one, what is lost fails.
        """
        self.store = store
        self._journal = None if folder is None else Journal(folder)
        self._seconds = SECONDS_FOR_A_FILE if getattr(store, "db_type", "") == SQLITE else seconds_per_call()
        self._writing = RLock()  # MLflow samples the machine in a thread of its own
        self._is_lost = False
        self._patience = PATIENCE
        self._retry_at = 0.0
        self._ids: dict[str, str] = {}

    def id_of(self, run_id: str) -> str:
        """What the store calls a run, once it knows it."""
        return self._ids.get(run_id, run_id)

    def read(self, ask: Callable[[], Result]) -> Result:
        """The store's answer.

        Raises:
            MlflowException: when there is none in time, or the store is lost.
        """
        if not self._is_reachable():
            raise MlflowException(
                "it did not answer before, and is not asked again yet", error_code=TEMPORARILY_UNAVAILABLE
            )
        try:
            return self._in_time(ask)
        except LOSSES as error:
            if not is_refusal(error) and getattr(error, "error_code", "") != NO_SUCH_QUESTION:
                self._lose(error)
            raise

    def wait(self, task: Callable[[], object]) -> None:
        """Let `task` end, if it does in time."""
        with suppress(TimeoutError):
            self._in_time(task)

    def write(self, call: Call) -> Run | None:
        """Make `call`, or keep it; a run that was made comes back.

        Raises:
            MlflowException: when the store refuses the call; when it is lost and there is nowhere to keep anything.
            RunInterrupted: when a signal came meanwhile; the call is kept.
        """
        try:
            with self._writing:
                call = call | {"run_id": self.id_of(call["run_id"])}
                try:
                    if self._is_reachable():
                        return self._make(call)
                except LOSSES as error:
                    if is_refusal(error) or self._journal is None:
                        raise
                    self._lose(error)
                self._keep(call)
                return None
        except RunInterrupted:
            if self._journal is not None:
                self._keep(call)  # it may have arrived, and does no harm twice
            raise

    def send_kept(self) -> None:
        """Send all that is kept, in order; what the store refuses is told and dropped.

        Raises:
            MlflowException: or another of `LOSSES`, when the store does not answer; what was not sent stays.
        """
        with self._writing:
            if self._journal is not None:
                self._ids |= self._journal.replay(self._send)
            self._is_lost, self._patience = False, PATIENCE

    @property
    def is_lost(self) -> bool:
        """Whether the last call found nobody."""
        return self._is_lost

    def num_kept(self) -> int:
        """Calls that are still to be sent."""
        return 0 if self._journal is None else len(self._journal)

    def _send(self, call: Call) -> str | None:
        try:
            made = self._make(call)
        except LOSSES as error:
            if not is_refusal(error):
                raise
            logger.warning("MLflow refuses %s of run %s: %s", call["call"], call["run_id"], error)
            return None
        return None if made is None else str(made.info.run_id)

    def _make(self, call: Call) -> Run | None:
        root = Path() if self._journal is None else self._journal.folder
        size = _size(root / call["path"]) if "path" in call else 0
        return self._in_time(lambda: make(call, self.store, root), size / BYTES_PER_SECOND)

    def _in_time(self, ask: Callable[[], Result], more_seconds: float = 0.0) -> Result:
        seconds = self._seconds + more_seconds
        try:
            return within(seconds, ask)
        except TimeoutError as error:
            raise TimeoutError(f"no answer within {seconds:.0f} s") from error

    def _is_reachable(self) -> bool:
        if self._is_lost and time.monotonic() >= self._retry_at:
            try:
                self.send_kept()
                logger.info("MLflow answers again; what was kept meanwhile is sent")
            except LOSSES:
                self._patience *= 2
                self._retry_at = time.monotonic() + self._patience
        return not self._is_lost

    def _lose(self, error: Exception) -> None:
        if not self._is_lost:
            place = "" if self._journal is None else f"; what it logs is kept in {self._journal.folder} meanwhile"
            logger.warning("MLflow does not answer (%s). The run goes on without it%s", error, place)
        self._is_lost, self._retry_at = True, time.monotonic() + self._patience

    def _keep(self, call: Call) -> None:
        assert self._journal is not None, "who has no journal fails before"
        path = {"path": self._journal.keep_file(Path(call["path"]))} if "path" in call else {}
        self._journal.keep(call | path)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
