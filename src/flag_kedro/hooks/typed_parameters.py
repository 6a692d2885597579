"""Typed parameters in MLflow, a field each."""

from dataclasses import asdict, is_dataclass
from typing import Any

from kedro.framework.hooks import hook_impl

from flag_kedro.tracking.names import escape_name


class ShowTypedParameters:
    """Shows kedro-mlflow typed parameters as dicts, so that it logs `room.field` each; alone it logs one text."""

    @hook_impl(tryfirst=True)
    def before_node_run(self, inputs: dict[str, Any]) -> None:
        """Put dicts in place of dataclasses. Kedro hands hooks a copy of the inputs: the node gets the typed ones."""
        for name, value in inputs.items():
            if name.startswith("params:") and is_dataclass(value) and not isinstance(value, type):
                inputs[name] = _named(asdict(value))


def _named(value: Any) -> Any:
    """Dicts within dicts under names that MLflow takes; kedro-mlflow's own repair would make two of them one."""
    return {escape_name(str(key)): _named(item) for key, item in value.items()} if isinstance(value, dict) else value
