"""Logging to the MLflow run that kedro-mlflow opened; without one (tracking disabled) nothing happens.

A store that stops answering costs the point, with a warning, and never the run.
"""

import logging
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from flag_kedro.errors import RunInterrupted

if TYPE_CHECKING:  # takes long to import, and what only lists pipelines does without
    import mlflow

logger = logging.getLogger(__name__)
BATCH = 1000
"""Metrics that MLflow takes in one request."""
_muted: ContextVar[bool] = ContextVar("muted", default=False)


@contextmanager
def muted() -> Iterator[None]:
    """Log no metrics and tags in the block."""
    before = _muted.set(True)
    try:
        yield
    finally:
        _muted.reset(before)


def active_run() -> "mlflow.ActiveRun | None":
    """The run to log to; None without one, and where nothing should be logged."""
    import mlflow

    return None if _muted.get() else mlflow.active_run()


@contextmanager
def store_may_fail(what: str) -> Iterator[None]:
    """Turn a tracking store that does not answer into a warning, and leave the block: it must not stop a training.

    Raises:
        RunInterrupted: when a signal came while the store was writing, which MLflow takes for its own failure.
    """
    from mlflow.exceptions import MlflowException

    handled = _chain(sys.exception())  # a signal that is being handled already is no news
    try:
        yield
    except MlflowException as error:
        for cause in _chain(error):
            if isinstance(cause, RunInterrupted) and cause not in handled:
                raise cause from None
        logger.warning("%s; MLflow said: %s", what, error)


def _chain(error: BaseException | None) -> list[BaseException]:
    """An error and what led to it."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def log_metrics(metrics: Mapping[str, float], step: int, time_ms: int) -> None:
    """Log `metrics` at `step` (environment steps) in one request."""
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    run = active_run()
    if run is None:
        return
    batch = [Metric(name, value, time_ms, step) for name, value in metrics.items()]
    with store_may_fail(f"metrics of step {step} not logged"):
        for start in range(0, len(batch), BATCH):
            MlflowClient().log_batch(run.info.run_id, metrics=batch[start : start + BATCH])


def run_id() -> str | None:
    """Id of the active run."""
    run = active_run()
    return None if run is None else str(run.info.run_id)


def sweep_dead_runs(data_dir: Path) -> None:
    """Tag the active run with the data folder it holds; older runs that claim to be at it are dead: mark them KILLED.

    To be called by the run that has the folder's lock: nobody else can be running on it.
    """
    import mlflow
    from mlflow.tracking import MlflowClient

    run = mlflow.active_run()
    if run is None:
        return
    tags = {"flag.host": socket.gethostname(), "flag.data_dir": str(data_dir.resolve())}
    claims = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    with store_may_fail("end of dead runs not logged"):
        claimants = mlflow.search_runs(
            [run.info.experiment_id], f"attributes.status = 'RUNNING' and {claims}", output_format="list"
        )
        for dead in claimants:
            logger.warning(
                "run %s was killed while it trained or judged; it is marked as KILLED now", dead.info.run_name
            )
            MlflowClient().set_terminated(dead.info.run_id, "KILLED")
        mlflow.set_tags(tags)


def set_tags(tags: Mapping[str, str]) -> None:
    """Tag the active run."""
    import mlflow

    if active_run() is not None:
        with store_may_fail(f"tags {', '.join(tags)} not logged"):
            mlflow.set_tags(dict(tags))


def tag_training_run(policy_hash: str) -> None:
    """Tag the active run with the run that trained the policy of this hash, if this store knows it."""
    import mlflow

    run = mlflow.active_run()
    if run is None:
        return
    with store_may_fail("tag train_run_id not logged"):
        trained = mlflow.search_runs(
            experiment_ids=[run.info.experiment_id],
            filter_string=f"tags.policy_hash = '{policy_hash}' and tags.trained = 'true'",
            max_results=1,
            output_format="list",
        )
        training_tag = {"train_run_id": trained[0].info.run_id} if trained else {}
        mlflow.set_tags({"policy_hash": policy_hash, **training_tag})
