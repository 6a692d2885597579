"""Which profile of `conf` made what lies in the data folder, so that commands that follow can be told whole."""

import json
import logging
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.pipeline.node import Node

from flag_kedro.data.atomic import atomic_write
from flag_kedro.errors import MadeOtherwiseError
from flag_kedro.hooks.command import run_command
from flag_kedro.hooks.data_folder import data_folder
from flag_kedro.hooks.user_errors import root_cause

logger = logging.getLogger(__name__)

FILE = "profile.json"
MADE = ("ingest_facts", "policy")
"""Datasets whose profile is noted: the market's, and the policy's."""
TRAINS = "train_policy"
BASE = "base"
"""What a run without `--env` has."""


class NoteProfile:
    """Notes the profile of tables and policy, names it where others do not fit, and warns before it replaces them."""

    def __init__(self) -> None:
        self._path, self._shown = Path("data") / FILE, Path("data")
        self._profile = BASE

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        """Note folder and profile of the run."""
        folder = data_folder(context)
        self._path, self._shown, self._profile = folder.path / FILE, folder.shown, context.env or BASE
        if self._profile == "local":
            self._profile = BASE

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Warn before a policy of another profile is replaced."""
        earlier = self._noted().get("policy", self._profile)
        if node.name.rpartition(".")[2] == TRAINS and earlier != self._profile:
            logger.warning(
                "the policy in %s is of the profile %s and will be replaced; --params=data_dir=FOLDER keeps both",
                self._shown / "06_models" / "policy", earlier,
            )  # fmt: skip

    @hook_impl
    def after_dataset_saved(self, dataset_name: str) -> None:
        """Note the profile of what was made."""
        if dataset_name in MADE:
            with atomic_write(self._path) as temporary:
                temporary.write_text(json.dumps({**self._noted(), dataset_name: self._profile}) + "\n")

    @hook_impl(tryfirst=True)
    def on_pipeline_error(self, error: Exception, run_params: dict[str, Any]) -> None:
        """Where tables or policy are of another profile, say with which command they are read."""
        cause = root_cause(error)
        others = {name for name in self._noted().values() if name != self._profile}
        if isinstance(cause, MadeOtherwiseError) and len(others) == 1:
            (made,) = others
            command = run_command({**run_params, "env": None if made == BASE else made})
            cause.params = None
            cause.add_note(f"What is in {self._shown} was made with the profile {made}:\n  {command}")

    def _noted(self) -> dict[str, str]:
        try:
            noted = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return noted if isinstance(noted, dict) else {}
