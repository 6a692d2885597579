"""Runs below the active one, for experiments of several trainings."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import mlflow
from mlflow.exceptions import MlflowException

from flag_kedro.tracking.log import muted, store_may_fail

logger = logging.getLogger(__name__)
INHERITED = ("flag.host", "flag.data_dir", "git_commit")
"""Tags that children take from their parent; by the first two, those of a killed process are found and ended."""


@contextmanager
def child_run(name: str, params: Mapping[str, object], tags: Mapping[str, str] | None = None) -> Iterator[None]:
    """Make a run below the active one the active run of the block; it ends FINISHED, or FAILED if the block raises.

    Without an active run nothing is opened. Where the store does not open one, a warning says so and nothing of the
    block is logged, so that children's curves never mix with their parent's.
    """
    parent = mlflow.active_run()
    if parent is None:
        yield
        return
    try:
        known = mlflow.get_run(parent.info.run_id).data.tags
        own = {tag: known[tag] for tag in INHERITED if tag in known} | dict(tags or {})
        child = mlflow.start_run(experiment_id=parent.info.experiment_id, run_name=name, nested=True, tags=own)
    except MlflowException as error:
        logger.warning("no MLflow run for %s: %s", name, error)
        with muted():
            yield
        return
    status = "FAILED"
    try:
        _log_params(name, params)
        yield
        status = "FINISHED"
    finally:
        active = mlflow.active_run()
        if active is not None and active.info.run_id == child.info.run_id:
            with store_may_fail(f"the end of {name}"):
                mlflow.end_run(status)


def _log_params(name: str, params: Mapping[str, object]) -> None:
    with store_may_fail(f"parameters of {name}"):
        mlflow.log_params(dict(params))
