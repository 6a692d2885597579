"""Calls that write to a tracking store, as JSON: so they can be made now, or kept and made later."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunStatus, RunTag
from mlflow.exceptions import MlflowException, RestException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from flag_kedro.tracking.journal import Call
from flag_kedro.tracking.names import escape_name

REFUSALS = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "MALFORMED_REQUEST",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}


def creation(
    run_id: str, experiment_id: str, user_id: str, start_time: int, tags: Sequence[RunTag], run_name: str
) -> Call:
    """Making a run; `run_id` is what others call it until the store has given it one."""
    return {
        "call": "create_run", "run_id": run_id, "experiment_id": experiment_id, "user_id": user_id,
        "start_time": start_time, "run_name": run_name, "tags": _pairs(tags),
    }  # fmt: skip


def batch(
    run_id: str, metrics: Sequence[Metric] = (), params: Sequence[Param] = (), tags: Sequence[RunTag] = ()
) -> Call:
    """Logging metrics, parameters and tags, under names that MLflow takes."""
    points = [
        [
            *(escape_name(metric.key), metric.value, metric.timestamp, metric.step),
            *(metric.model_id, metric.dataset_name, metric.dataset_digest),
        ]
        for metric in metrics
    ]
    return {"call": "log_batch", "run_id": run_id, "metrics": points, "params": _pairs(params), "tags": _pairs(tags)}


def inputs(run_id: str, datasets: Sequence[DatasetInput]) -> Call:
    """Noting datasets that the run used."""
    found = [{"dataset": dict(each.dataset), "tags": {tag.key: tag.value for tag in each.tags}} for each in datasets]
    return {"call": "log_inputs", "run_id": run_id, "datasets": found}


def update(run_id: str, status: str | None, end_time: int | None, run_name: str | None) -> Call:
    """Ending or naming a run."""
    return {"call": "update_run_info", "run_id": run_id, "status": status, "end_time": end_time, "run_name": run_name}


def upload(run_id: str, path: str, folder: str | None) -> Call:
    """Copying a file, or a folder with all that is in it, into `folder` of the run's artifacts."""
    return {"call": "log_artifact", "run_id": run_id, "path": path, "folder": folder}


def make(call: Call, store: Any, root: Path) -> Run | None:
    """Make `call`; a run that it creates comes back. Relative paths are below `root`.

    Raises:
        MlflowException: when the store refuses, and where a file cannot be copied, whatever stands behind that.
        OSError: when a server cannot be reached; other stores raise their own.
    """
    run_id = call["run_id"]
    match call["call"]:
        case "create_run":
            names = ("experiment_id", "user_id", "start_time", "run_name")
            made: Run = store.create_run(tags=_entities(RunTag, call["tags"]), **{name: call[name] for name in names})
            return made
        case "log_batch":
            metrics = [Metric(*values) for values in call["metrics"]]
            params, tags = _entities(Param, call["params"]), _entities(RunTag, call["tags"])
            store.log_batch(run_id=run_id, metrics=metrics, params=params, tags=tags)
        case "log_inputs":
            store.log_inputs(run_id, datasets=[_input(**each) for each in call["datasets"]])
        case "update_run_info":
            status = None if call["status"] is None else RunStatus.from_string(call["status"])
            store.update_run_info(run_id, status, call["end_time"], call["run_name"])
        case "log_artifact":
            _copy(root / call["path"], call["folder"], store.get_run(run_id).info.artifact_uri)
    return None


def is_refusal(error: Exception) -> bool:
    """Whether the store was reached and will not take a call, however often it is made."""
    if not isinstance(error, MlflowException) or error.error_code not in REFUSALS:
        return False
    return isinstance(error, RestException) or not str(error).startswith("API request")  # of a proxy, not of MLflow


def _copy(source: Path, folder: str | None, artifact_uri: str) -> None:
    try:
        repository: Any = get_artifact_repository(artifact_uri)
        if source.is_dir():
            repository.log_artifacts(str(source), "/".join(filter(None, (folder, source.name))))
        else:
            repository.log_artifact(str(source), folder)
    except Exception as error:  # of whichever library talks to the place
        raise MlflowException(f"{source.name} was not copied to {artifact_uri}: {error}") from error


def _input(dataset: dict[str, Any], tags: dict[str, str]) -> DatasetInput:
    return DatasetInput(Dataset(**dataset), [InputTag(key, value) for key, value in tags.items()])


def _pairs(entities: Sequence[Param] | Sequence[RunTag]) -> list[list[str]]:
    return [[escape_name(entity.key), str(entity.value)] for entity in entities]


def _entities(kind: type, pairs: Sequence[Sequence[str]]) -> list[Any]:
    return [kind(key, value) for key, value in pairs]
