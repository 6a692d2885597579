"""Runs below the active one, for experiments of several trainings."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from flag_kedro.tracking.log import inherited_tags, muted, store_may_fail


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
        child_tags = inherited_tags(parent.info.run_id) | dict(tags or {})
        child = mlflow.start_run(
            experiment_id=parent.info.experiment_id, run_name=name, nested=True, tags=child_tags,
            log_system_metrics=False,  # its parent's are those of the machine
        )  # fmt: skip
    if child is None:
        with muted():
            yield
        return
    status = "FAILED"
    try:
        mlflow.log_params(dict(params))
        yield
        status = "FINISHED"
    finally:
        active = mlflow.active_run()
        if active is not None and active.info.run_id == child.info.run_id:
            mlflow.end_run(status)
