"""Runs below the active one, for experiments of several trainings."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from flag_kedro.tracking.log import muted, store_may_fail

INHERITED = ("flag.host", "flag.data_dir", "git_commit")
"""Tags that children take from their parent; by the first two, those of a killed process are found and ended."""


@contextmanager
def child_run(name: str, params: Mapping[str, object], tags: Mapping[str, str] | None = None) -> Iterator[None]:
    """Make a run below the active one the active run of the block; it ends FINISHED, or FAILED if the block raises.

    Without an active run nothing is opened. Where the store does not open one, a warning says so and nothing of the
    block is logged, so that children's curves never mix with their parent's.
    """
    import mlflow

    parent = mlflow.active_run()
    if parent is None:
        yield
        return
    child = None
    with store_may_fail(f"no run for {name}"):
        parent_tags = mlflow.get_run(parent.info.run_id).data.tags
        child_tags = {tag: parent_tags[tag] for tag in INHERITED if tag in parent_tags} | dict(tags or {})
        child = mlflow.start_run(experiment_id=parent.info.experiment_id, run_name=name, nested=True, tags=child_tags)
    if child is None:
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
            with store_may_fail(f"the end of {name} not logged"):
                mlflow.end_run(status)


def _log_params(name: str, params: Mapping[str, object]) -> None:
    import mlflow

    with store_may_fail(f"parameters of {name} not logged"):
        mlflow.log_params(dict(params))
