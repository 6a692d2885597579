"""Logging to the MLflow run that kedro-mlflow opened; without one (tracking disabled) nothing happens.

What a store that stops answering misses is kept (`link`); a question it does not answer costs a warning, never the run.
"""

import json
import logging
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # takes long to import, and what only lists pipelines does without
    import mlflow

logger = logging.getLogger(__name__)
INHERITED = ("flag.host", "flag.data_dir", "flag.store", "git_commit")
"""Tags that children take from their parent; by the first ones, those of a killed process are found and ended."""
_muted: ContextVar[bool] = ContextVar("muted", default=False)
_inherited: dict[str, dict[str, str]] = {}


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
    """Turn a tracking store that does not answer into a warning, and leave the block: it must not stop a training."""
    from flag_kedro.tracking.link import LOSSES

    try:
        yield
    except LOSSES as error:
        logger.warning("%s; MLflow said: %s", what, error)


def log_metrics(metrics: Mapping[str, float], step: int, time_ms: int) -> None:
    """Log `metrics` at `step` (environment steps) in one request."""
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    run = active_run()
    if run is not None:
        batch = [Metric(name, value, time_ms, step) for name, value in metrics.items()]
        MlflowClient().log_batch(run.info.run_id, metrics=batch)


def log_artifact(path: Path, folder: str | None = None) -> None:
    """Copy a file, or a folder with all that is in it, into `folder` of the active run's artifacts."""
    from flag_kedro.tracking.keeping_store import store_in_use

    run = active_run()
    if run is not None:
        store_in_use().log_artifact(run.info.run_id, path, folder)


def log_json(content: Mapping[str, Any], name: str) -> None:
    """Write `content` as a JSON file of this name among the active run's artifacts."""
    if active_run() is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_text(json.dumps(content, default=str))
            log_artifact(path)


def run_id() -> str | None:
    """Id of the active run."""
    run = active_run()
    return None if run is None else str(run.info.run_id)


def set_tags(tags: Mapping[str, str]) -> None:
    """Tag the active run."""
    import mlflow

    run = active_run()
    if run is not None:
        kept = {name: value for name, value in tags.items() if name in INHERITED}
        _inherited[run.info.run_id] = _inherited.get(run.info.run_id, {}) | kept
        mlflow.set_tags(dict(tags))


def inherited_tags(run_id: str) -> dict[str, str]:
    """Tags that runs below this one have too."""
    return _inherited.get(run_id, {})


def sweep_dead_runs(data_dir: Path, store: str | None = None) -> None:
    """Tag the active run with the data folder it holds; older runs that claim to be at it are dead: mark them KILLED.

    To be called by the run that has the folder's lock: nobody else can be running on it.

    Args:
        data_dir: the folder.
        store: the object store that it is a working copy of, which the run holds too: then runs that died on other
            machines are found as well.
    """
    import mlflow
    from mlflow.tracking import MlflowClient

    run = mlflow.active_run()
    if run is None:
        return
    tags = {"flag.host": socket.gethostname(), "flag.data_dir": str(data_dir.resolve())}
    shared = tags if store is None else {"flag.store": store}
    tags |= shared
    claims = " and ".join(f"tags.`{name}` = '{value}'" for name, value in shared.items())
    with store_may_fail("end of dead runs not logged"):
        claimants = mlflow.search_runs(
            [run.info.experiment_id], f"attributes.status = 'RUNNING' and {claims}", output_format="list"
        )
        for dead in claimants:
            logger.warning(
                "run %s was killed while it trained or judged; it is marked as KILLED now", dead.info.run_name
            )
            MlflowClient().set_terminated(dead.info.run_id, "KILLED")
    set_tags(tags)


def tag_training_run(policy_hash: str) -> None:
    """Tag the active run with the run that trained the policy of this hash, if this store knows it."""
    import mlflow

    run = mlflow.active_run()
    if run is None:
        return
    set_tags({"policy_hash": policy_hash})
    with store_may_fail("tag train_run_id not logged"):
        trained = mlflow.search_runs(
            experiment_ids=[run.info.experiment_id],
            filter_string=f"tags.policy_hash = '{policy_hash}' and tags.trained = 'true'",
            max_results=1,
            output_format="list",
        )
        if trained:
            set_tags({"train_run_id": trained[0].info.run_id})
