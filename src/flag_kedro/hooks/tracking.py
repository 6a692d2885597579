"""MLflow's store is opened before kedro-mlflow uses it; what it could not be told is kept, and sent at the end."""

import logging
import os
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from rich.console import Console

from flag_kedro.errors import RunInterrupted, TrackingError
from flag_kedro.hooks.command import run_command
from flag_kedro.hooks.user_errors import root_cause
from flag_kedro.tracking.log import log_artifact

logger = logging.getLogger(__name__)
PATTERNS = ["mlflow*", "mlflow*/**", "**/mlflow*"]
UNSENT = "unsent_calls"


class OpenStore:
    """Opens the store, of which every call ends in time from then on."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: Any) -> None:
        """Settle where store and artifacts are, and open them; kedro-mlflow reads what is settled here.

        Raises:
            TrackingError: when there is no such store.
        """
        from flag_kedro.tracking.location import is_local, store_address  # imports mlflow
        from flag_kedro.tracking.opening import open_store

        loader, project = context.config_loader, Path(context.project_path)
        loader.config_patterns.setdefault("mlflow", PATTERNS)
        settings = loader["mlflow"]
        experiment = settings["tracking"]["experiment"]
        check_named(settings)
        address = store_address(settings["server"]["mlflow_tracking_uri"], project)
        settings["server"]["mlflow_tracking_uri"] = address
        location = None
        if is_local(address):
            location = artifact_address(experiment["create_experiment_kwargs"]["artifact_location"], project)
        experiment["create_experiment_kwargs"]["artifact_location"] = location
        open_store(address, experiment["name"], location)
        loader["mlflow"] = settings


class KeepUnsent:
    """Keeps in the data folder what cannot be sent, while the run has it."""

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, catalog: Any) -> None:
        """Begin with what earlier runs left."""
        from flag_kedro.tracking.upload import keep_in

        keep_in(catalog[UNSENT].load())

    @hook_impl(trylast=True)
    def after_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Send what was kept, or say how."""
        self._send(run_params)

    @hook_impl(trylast=True)
    def on_pipeline_error(self, error: Exception, run_params: dict[str, Any]) -> None:
        """Send what was kept, or say how; whoever stopped the run need not wait for a store that was lost."""
        self._send(run_params, may_try=not isinstance(root_cause(error), RunInterrupted))

    def _send(self, run_params: dict[str, Any], *, may_try: bool = True) -> None:
        from flag_kedro.tracking.upload import is_lost, num_kept, try_to_send

        if num_kept() and not ((may_try or not is_lost()) and try_to_send()):
            logger.warning(
                "MLflow was not told everything: %d call(s) are kept, to be sent once it answers", num_kept()
            )
            command = run_command(run_params, pipelines=["upload"], only=("data_dir",))
            Console(stderr=True).print(f"  {command}", soft_wrap=True, markup=False, highlight=False)


class LogArtifacts:
    """Copies what the catalog marks with `metadata: {mlflow: {artifact_path: FOLDER}}` to the run's artifacts."""

    def __init__(self) -> None:
        self._catalog: Any = None

    @hook_impl
    def before_pipeline_run(self, catalog: Any) -> None:
        """Note where datasets are."""
        self._catalog = catalog

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Copy the file or folder that was saved."""
        dataset = self._catalog[dataset_name]
        marked = (getattr(dataset, "metadata", None) or {}).get("mlflow")
        if marked is not None:
            log_artifact(Path(dataset._filepath), marked["artifact_path"])


def check_named(settings: Any) -> None:
    """Refuse a profile that takes addresses from the environment, where none are given.

    Args:
        settings: of `mlflow.yml`.

    Raises:
        TrackingError: naming the variable, with what to set it to.
    """
    wanted = {
        "MLFLOW_TRACKING_URI": (settings["server"]["mlflow_tracking_uri"], "postgresql://USER:PASSWORD@HOST/DATABASE"),
        "MLFLOW_ARTIFACT_LOCATION": (
            settings["tracking"]["experiment"]["create_experiment_kwargs"]["artifact_location"], "s3://BUCKET/PREFIX"
        ),
    }  # fmt: skip
    missing = [f"export {name}={example}" for name, (given, example) in wanted.items() if given == ""]
    if missing:
        raise TrackingError(
            "this profile logs to a database that all machines share, and none is named:\n  " + "\n  ".join(missing)
        )


def artifact_address(configured: str | None, project: Path) -> str:
    """Where the files of a local store's runs go: MLFLOW_ARTIFACT_LOCATION if set, else `configured`.

    A path without a scheme is below the project.
    """
    place = os.environ.get("MLFLOW_ARTIFACT_LOCATION", "").strip() or configured or "mlartifacts"
    return place if "://" in place else (project / place).resolve().as_uri()
