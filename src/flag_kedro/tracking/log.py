"""Logging to the MLflow run that kedro-mlflow opened; without one (tracking disabled) nothing happens."""

import logging
from collections.abc import Mapping

import mlflow
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

logger = logging.getLogger(__name__)
BATCH = 1000
"""Metrics that MLflow takes in one request."""


def log_metrics(metrics: Mapping[str, float], step: int, time_ms: int) -> None:
    """Log `metrics` at `step` (environment steps) in one request; a store that does not answer costs the point only."""
    run = mlflow.active_run()
    if run is None:
        return
    batch = [Metric(name, value, time_ms, step) for name, value in metrics.items()]
    try:
        for start in range(0, len(batch), BATCH):
            MlflowClient().log_batch(run.info.run_id, metrics=batch[start : start + BATCH])
    except MlflowException as error:  # a dead tracking server must not stop a training
        logger.warning("step %d was not logged to MLflow: %s", step, error)


def set_tags(tags: Mapping[str, str]) -> None:
    """Tag the active run."""
    if mlflow.active_run() is not None:
        mlflow.set_tags(dict(tags))


def tag_training_run(policy_hash: str) -> None:
    """Tag the active run with the run that trained the policy of this hash, if this store knows it."""
    run = mlflow.active_run()
    if run is None:
        return
    trained = mlflow.search_runs(
        experiment_ids=[run.info.experiment_id],
        filter_string=f"tags.policy_hash = '{policy_hash}' and tags.trained = 'true'",
        max_results=1,
        output_format="list",
    )
    tags = {"policy_hash": policy_hash}
    if trained:
        tags["train_run_id"] = trained[0].info.run_id
    mlflow.set_tags(tags)
