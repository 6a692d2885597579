"""Policies in MLflow's model registry: versions, and which of them is the champion."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from flag_kedro.env.prompt import account_texts
from flag_kedro.env.split import MarketSplit
from flag_kedro.errors import RunInterrupted, TrackingError
from flag_kedro.tracking.inputs import window_input
from flag_kedro.tracking.log import active_run, store_may_fail

logger = logging.getLogger(__name__)

MODEL = "flag_kedro"
LOGGED = "trained_policy"
"""A policy among the models of its run; the run's artifacts have a folder `policy`, which MLflow would take for it."""
CHAMPION, CHALLENGER = "champion", "challenger"
HASH = "policy_hash"
CODE = Path(__file__).with_name("served_policy.py")
NO_STEP = 2**31 - 1
"""MLflow copies a run's metrics of the step that a model is logged at to the model: those of none."""
EXAMPLE = {"market_text": "1d +0.2%", "news_text": "none", "account_text": "flat"}


@dataclass(frozen=True)
class Registered:
    """A version of the registered model."""

    version: str
    policy_hash: str


def find(alias: str) -> Registered | None:
    """The version that has an alias, None where none has."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        found = MlflowClient().get_model_version_by_alias(MODEL, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise TrackingError(f"MLflow's registry does not say which policy is the {alias}: {error}") from error
    return Registered(str(found.version), str(found.tags.get(HASH, "")))


def fetch(alias: str, folder: Path) -> Path:
    """Copy the policy of an alias into an empty folder; its bundle there.

    Raises:
        TrackingError: when the registry does not give it.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        path = Path(download_artifacts(artifact_uri=f"models:/{MODEL}@{alias}", dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        raise TrackingError(f"the files of models:/{MODEL}@{alias} cannot be had: {error}") from error
    return next((path / "artifacts").iterdir())


def log_policy(policy: Path, policy_hash: str, backbone: Path, metrics: Mapping[str, float]) -> str:
    """Log a policy as a model of the active run; the model's id.

    A bundle that brings its backbone (`tiny`) is whole; of another one the folder on this machine is noted.

    Args:
        policy: its folder.
        policy_hash: of the folder, by which it is found again.
        backbone: its language model's folder.
        metrics: of the validation window, by name.

    Raises:
        MlflowException: when MLflow, or the place of its files, does not take it.
    """
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    from flag_kedro.policy.bundle import read_description  # imports torch

    texts = Schema([ColSpec("string", name) for name in EXAMPLE])
    odds = [ColSpec("double", name) for name in ("prob_sell", "prob_hold", "prob_buy", "value")]
    own, env = (policy / "backbone").is_dir(), read_description(policy)["env"]
    known = account_texts(env["account_view"], env["positions"]) is not None
    try:
        info = mlflow.pyfunc.log_model(
            name=LOGGED,
            python_model=str(CODE),
            artifacts={"policy": str(policy)},
            model_config={} if own else {"backbone": str(backbone.resolve())},
            signature=ModelSignature(texts, Schema([ColSpec("string", "action"), *odds])),
            input_example=pd.DataFrame([EXAMPLE]) if known else None,  # which MLflow asks the saved model
            pip_requirements=[f"flag_kedro=={version('flag_kedro')}"],
            tags={HASH: policy_hash},
            step=NO_STEP,
        )
    except RunInterrupted:
        raise
    except Exception as error:  # of whichever library talks to the place of the files
        raise MlflowException(f"the policy was not copied to MLflow's models: {error}") from error
    _log_validation(info.model_id, metrics)
    return str(info.model_id)


def find_logged(policy_hash: str) -> str | None:
    """Id of the model that is this policy, whole and the latest of several; None where the experiment has none."""
    import mlflow
    from mlflow.entities import LoggedModelStatus

    run = mlflow.active_run()
    if run is None:
        return None
    found = mlflow.search_logged_models(
        experiment_ids=[run.info.experiment_id],
        filter_string=f"tags.`{HASH}` = '{policy_hash}'",
        output_format="list",
    )
    whole = [model for model in found if model.status == LoggedModelStatus.READY]
    return str(whole[0].model_id) if whole else None


def log_test_metrics(policy_hash: str, metrics: Mapping[str, float], split: MarketSplit) -> None:
    """Log what a policy did on its test window at the model that it is, if it was logged.

    Args:
        policy_hash: of its folder.
        metrics: by name.
        split: whose test window it was.
    """
    model_id = None
    with store_may_fail("test metrics are not logged at the model"):
        model_id = find_logged(policy_hash)
    if model_id is not None:
        dataset = window_input(split, "test").dataset
        told = {f"test/{name}": value for name, value in metrics.items()}
        _log_metrics(model_id, told, (dataset.name, dataset.digest))


def _log_validation(model_id: str, metrics: Mapping[str, float]) -> None:
    _log_metrics(model_id, {f"validation/{name}": value for name, value in metrics.items()})


def _log_metrics(model_id: str, metrics: Mapping[str, float], dataset: tuple[str, str] | None = None) -> None:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    run, now = active_run(), int(time.time() * 1000)
    if run is not None:
        name, digest = dataset or (None, None)
        batch = [
            Metric(key, value, now, 0, model_id=model_id, dataset_name=name, dataset_digest=digest)
            for key, value in metrics.items()
        ]
        MlflowClient().log_batch(run.info.run_id, metrics=batch)


def register(policy: Path, policy_hash: str, backbone: Path, metrics: Mapping[str, float]) -> Registered:
    """Make a policy a version of the registered model: the one that its training logged, or logged now.

    Args:
        policy: its folder.
        policy_hash: of the folder.
        backbone: its language model's folder.
        metrics: of the validation window, by name.
    """
    import mlflow
    from mlflow import MlflowClient

    model_id = find_logged(policy_hash)
    if model_id is None:
        model_id = log_policy(policy, policy_hash, backbone, metrics)
    else:
        _log_validation(model_id, metrics)
    number = str(mlflow.register_model(f"models:/{model_id}", MODEL).version)
    MlflowClient().set_model_version_tag(MODEL, number, HASH, policy_hash)
    return Registered(number, policy_hash)


def point(alias: str, to: Registered) -> None:
    """Let an alias name a version."""
    from mlflow import MlflowClient

    MlflowClient().set_registered_model_alias(MODEL, alias, to.version)
    logger.info("models:/%s@%s is version %s", MODEL, alias, to.version)


def tag_version(registered: Registered, tags: Mapping[str, Any]) -> None:
    """Note facts at a version."""
    from mlflow import MlflowClient

    for name, value in tags.items():
        MlflowClient().set_model_version_tag(MODEL, registered.version, name, str(value))
