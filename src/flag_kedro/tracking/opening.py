"""Opening MLflow's store and experiment before anything is logged, and saying what is wrong with it if that fails."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
from alembic.util import CommandError
from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from flag_kedro.errors import TrackingError
from flag_kedro.tracking.calls import is_refusal
from flag_kedro.tracking.deadline import within
from flag_kedro.tracking.keeping_store import KeepingStore, store_in_use
from flag_kedro.tracking.link import LOSSES
from flag_kedro.tracking.location import VARIABLE, database_file
from flag_kedro.tracking.moved import follow_the_project

logger = logging.getLogger(__name__)
SECONDS_TO_OPEN = 60.0
"""A new database gets its tables; one that is not there is asked for again and again."""


def open_store(address: str, experiment: str, artifacts: str | None) -> None:
    """Let MLflow use the store at `address`, with an experiment of this name, both made if they are not there.

    One process at a time makes them. A store of the project that was moved with it is told so (`moved`).

    Args:
        address: of `store_address`.
        experiment: name of the experiment that runs belong to.
        artifacts: address of the folder where a new experiment's files go; None lets a server choose.

    Raises:
        TrackingError: when the store cannot be opened, with what is wrong.
    """
    try:
        with _alone(address):
            mlflow.set_tracking_uri(address)
            store = store_in_use() if database_file(address) else within(SECONDS_TO_OPEN, store_in_use)
            store.keep_in(None)
            _make_experiment(store, experiment, artifacts)
            if artifacts is not None and database_file(address) is not None:
                follow_the_project(store.link.store, experiment, artifacts)
    except (*LOSSES, CommandError) as error:
        raise TrackingError(_explain(address, error)) from error


@contextmanager
def _alone(address: str) -> Iterator[None]:
    """Hold the lock of a store that is a file; a server looks after itself."""
    file = database_file(address)
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and not os.access(file, os.W_OK):
        raise PermissionError(f"{file} cannot be written")
    try:
        with FileLock(f"{file}.lock", timeout=SECONDS_TO_OPEN):
            yield
    except Timeout as error:
        raise TimeoutError(f"another run has been opening {file} for {SECONDS_TO_OPEN:.0f} s") from error


def _make_experiment(store: KeepingStore, name: str, artifacts: str | None) -> None:
    if store.get_experiment_by_name(name) is None:
        try:
            store.create_experiment(name, artifacts, [])
        except MlflowException as error:  # by another run on the same server, meanwhile
            if not is_refusal(error) or store.get_experiment_by_name(name) is None:
                raise


def _explain(address: str, error: Exception) -> str:
    file = database_file(address)
    if file is None:
        return (
            f"MLflow does not answer at {address}: {_first_line(error)}\nStart the server, allow it longer with "
            "MLFLOW_HTTP_REQUEST_TIMEOUT=SECONDS, or log to the project's own mlflow.db:\n"
            f"  env -u {VARIABLE} kedro run ..."
        )
    if "database schema" in str(error) or isinstance(error, CommandError):
        return (
            f"{file} was made by another version of MLflow than {mlflow.__version__}, which is installed: "
            f"{_first_line(error)}\nCopy the file and bring it up to date (or install a newer version that made it)\n"
            f"  cp {file} {file}.copy && mlflow db upgrade {address}"
        )
    if isinstance(error, SQLAlchemyError) or "not a database" in str(error):
        return (
            f"{file} cannot be used as MLflow's store: {_first_line(error)}\nMove it away, or name another:{_other()}"
        )
    return f"{file} cannot be opened: {_first_line(error)}\nMake it writable, or name another:{_other()}"


def _other() -> str:
    return f"\n  {VARIABLE}=sqlite:////path/to/mlflow.db kedro run ..."


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
