"""Opening MLflow's store and experiment before anything is logged, and saying what is wrong with it if that fails."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import mlflow
from alembic.util import CommandError
from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from flag_kedro.errors import TrackingError
from flag_kedro.tracking.calls import is_refusal
from flag_kedro.tracking.deadline import within
from flag_kedro.tracking.keeping_store import KeepingStore, store_in_use
from flag_kedro.tracking.link import LOSSES
from flag_kedro.tracking.location import SERVERS, VARIABLE, database_file, is_postgres, without_password
from flag_kedro.tracking.moved import follow_the_project

logger = logging.getLogger(__name__)
LOCK_KEY = 0x666C6167
"""Of PostgreSQL's advisory lock that opening the store takes; `flag` in ASCII."""
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
    except ModuleNotFoundError as error:
        raise TrackingError(
            f"{without_password(address)} needs {error.name}; pip install 'flag_kedro[cluster]' has PostgreSQL's"
        ) from error


@contextmanager
def _alone(address: str) -> Iterator[None]:
    """Hold the lock of a store that is a file or a database of PostgreSQL; a server looks after itself."""
    file = database_file(address)
    if is_postgres(address):
        with _alone_in_database(address):
            yield
        return
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


@contextmanager
def _alone_in_database(address: str) -> Iterator[None]:
    """Hold a lock of the database: MLflow makes its tables without one, and two first runs would break each other's.

    It goes with the connection, however the process ends.
    """
    engine = create_engine(address, poolclass=NullPool, connect_args={"connect_timeout": 10})
    with engine.connect() as connection:
        connection.execute(text(f"SET lock_timeout = '{SECONDS_TO_OPEN:.0f}s'"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_KEY})
        yield


def _make_experiment(store: KeepingStore, name: str, artifacts: str | None) -> None:
    if store.get_experiment_by_name(name) is None:
        try:
            store.create_experiment(name, artifacts, [])
        except MlflowException as error:  # by another run on the same server, meanwhile
            if not is_refusal(error) or store.get_experiment_by_name(name) is None:
                raise


def _explain(address: str, error: Exception) -> str:
    file, shown = database_file(address), without_password(address)
    if file is None and urlsplit(address).scheme not in SERVERS:
        return (
            f"MLflow's database does not let the run in at {shown}: {_first_line(error)}\nStart it, make user and "
            f"database, or correct {VARIABLE}=postgresql://USER:PASSWORD@HOST:PORT/DATABASE. Without one:{_other()}"
        )
    if file is None:
        return (
            f"MLflow does not answer at {shown}: {_first_line(error)}\nStart the server, allow it longer with "
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
