"""Logging to the MLflow run that kedro-mlflow opened; without one (tracking disabled) nothing happens.

A store that stops answering costs the point, with a warning, and never the run.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import mlflow
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

logger = logging.getLogger(__name__)
BATCH = 1000
"""Metrics that MLflow takes in one request."""


@contextmanager
def _store_may_fail(what: str) -> Iterator[None]:
    """Turn a tracking store that does not answer into a warning: it must not stop a training or hide its error."""
    try:
        yield
    except MlflowException as error:
        logger.warning("%s not logged to MLflow: %s", what, error)


def log_metrics(metrics: Mapping[str, float], step: int, time_ms: int) -> None:
    """Log `metrics` at `step` (environment steps) in one request."""
    run = mlflow.active_run()
    if run is None:
        return
    batch = [Metric(name, value, time_ms, step) for name, value in metrics.items()]
    with _store_may_fail(f"metrics of step {step}"):
        for start in range(0, len(batch), BATCH):
            MlflowClient().log_batch(run.info.run_id, metrics=batch[start : start + BATCH])


def set_tags(tags: Mapping[str, str]) -> None:
    """Tag the active run."""
    if mlflow.active_run() is not None:
        with _store_may_fail(f"tags {', '.join(tags)}"):
            mlflow.set_tags(dict(tags))


def tag_training_run(policy_hash: str) -> None:
    """Tag the active run with the run that trained the policy of this hash, if this store knows it."""
    run = mlflow.active_run()
    if run is None:
        return
    with _store_may_fail("tag train_run_id"):
        trained = mlflow.search_runs(
            experiment_ids=[run.info.experiment_id],
            filter_string=f"tags.policy_hash = '{policy_hash}' and tags.trained = 'true'",
            max_results=1,
            output_format="list",
        )
        known = {"train_run_id": trained[0].info.run_id} if trained else {}
        mlflow.set_tags({"policy_hash": policy_hash, **known})
