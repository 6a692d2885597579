"""What is noted at MLflow's run beside parameters and metrics: code, data folder, policy, error."""

import subprocess
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl

from flag_kedro.hooks.command import run_command
from flag_kedro.hooks.data_folder import DataFolder, data_folder, store_url
from flag_kedro.hooks.user_errors import root_cause
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.tracking.log import log_json, set_tags, sweep_dead_runs


class TagRun:
    """Tags the run, and ends those that died on the same data folder."""

    def __init__(self) -> None:
        self._folder = DataFolder(Path(), Path("data"))
        self._store: str | None = None
        self._catalog: Any = None
        self._is_tagged = True
        self._command = ""
        self._parameters: dict[str, Any] = {}

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Note where code and data are, and the parameters as conf and command line give them."""
        self._folder, self._store = data_folder(context), store_url(context)
        self._parameters = dict(context.config_loader["parameters"])

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], catalog: Any) -> None:
        """Expect a new run."""
        self._command = run_command(run_params)
        self._catalog = catalog
        self._is_tagged = False

    @hook_impl(trylast=True)
    def before_dataset_loaded(self) -> None:
        """Tag the run once: kedro-mlflow has opened it by now, and an error here ends it.

        The command takes the place of kedro-mlflow's, which has no parameters.
        """
        if not self._is_tagged:
            self._is_tagged = True
            set_tags({"git_commit": _git_commit(self._folder.project), "kedro_command": self._command})
            sweep_dead_runs(self._folder.path, self._store)
            log_json(self._parameters, "parameters.json")  # whole: MLflow's parameters are cut at 6,000 characters

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Tag the run with the policy it trained, so that a later backtest finds it."""
        if dataset_name == "policy":
            set_tags({"trained": "true", "policy_hash": folder_hash(self._catalog["policy"].load())})

    @hook_impl(tryfirst=True)
    def on_pipeline_error(self, error: Exception) -> None:
        """Leave the reason with the run, before kedro-mlflow ends it as failed."""
        cause = root_cause(error)
        set_tags({"flag.error": f"{type(cause).__name__}: {cause}"[:500]})


def _git_commit(project: Path) -> str:
    """The checkout's commit, marked when files differ from it; `unknown` outside git."""
    try:
        run = ["git", "-C", str(project), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
        return subprocess.run(run, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
