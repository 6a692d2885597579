"""Policies in MLflow's model registry: versions, and which of them is the champion."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from flag_kedro.errors import TrackingError

logger = logging.getLogger(__name__)

MODEL = "flag_kedro"
CHAMPION, CHALLENGER = "champion", "challenger"
HASH = "policy_hash"
CODE = Path(__file__).with_name("served_policy.py")
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


def register(policy: Path, policy_hash: str, backbone: Path, metrics: Mapping[str, float]) -> Registered:
    """Log a policy as a model with its metrics, and make it a version of the registered model.

    A bundle that brings its backbone (`tiny`) is whole; of another one the folder on this machine is noted.

    Args:
        policy: its folder.
        policy_hash: of the folder.
        backbone: its language model's folder.
        metrics: of the validation window, by name.
    """
    import mlflow
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    texts = Schema([ColSpec("string", name) for name in EXAMPLE])
    odds = [ColSpec("double", name) for name in ("prob_sell", "prob_hold", "prob_buy", "value")]
    own = (policy / "backbone").is_dir()
    info = mlflow.pyfunc.log_model(
        name="policy",
        python_model=str(CODE),
        artifacts={"policy": str(policy)},
        model_config={} if own else {"backbone": str(backbone.resolve())},
        signature=ModelSignature(texts, Schema([ColSpec("string", "action"), *odds])),
        input_example=pd.DataFrame([EXAMPLE]),
        pip_requirements=[f"flag_kedro=={version('flag_kedro')}"],
        registered_model_name=MODEL,
    )
    mlflow.log_metrics({f"validation/{name}": value for name, value in metrics.items()}, model_id=info.model_id)
    number = str(info.registered_model_version)
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
