"""Commands as a user would type them."""

import shlex
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

MADE_HERE = Path(".venv/bin/kedro")
"""By `make install`; on the PATH only of those who put it there."""
OPTIONS = {
    "from_nodes": "--from-nodes",
    "to_nodes": "--to-nodes",
    "node_names": "--nodes",
    "from_inputs": "--from-inputs",
    "to_outputs": "--to-outputs",
    "tags": "--tags",
    "namespaces": "--namespaces",
}
"""Kedro's names of what a run is cut down by, and the options that say so."""


def run_command(
    run_params: Mapping[str, Any],
    *,
    pipelines: Sequence[str] | None = None,
    params: Mapping[str, Any] | None = None,
    only: Collection[str] | None = None,
) -> str:
    """`kedro run` with all that makes it the run that Kedro describes by `run_params`.

    Args:
        run_params: Kedro's, of a hook.
        pipelines: others, whole, in place of the run's own.
        params: flat parameters to be given besides, or in place of the run's own.
        only: the parameters that are given, of those of the run; all where None.
    """
    words = ["kedro", "run"]
    if run_params.get("env"):
        words.append(f"--env={run_params['env']}")
    chosen = run_params.get("pipeline_names") if pipelines is None else pipelines
    if chosen and list(chosen) != ["__default__"]:
        words.append(f"--pipelines={','.join(chosen)}")
    if pipelines is None:
        words += [f"{option}={','.join(run_params[name])}" for name, option in OPTIONS.items() if run_params.get(name)]
        words += ["--only-missing-outputs"] if run_params.get("only_missing_outputs") else []
    flat = flatten(run_params.get("runtime_params") or {})
    given = {name: value for name, value in flat.items() if only is None or name in only} | dict(params or {})
    if given:
        words.append("--params=" + ",".join(f"{name}={written(value)}" for name, value in given.items()))
    return shlex.join(words)


class FollowUp:
    """The run that is being summed up, by which commands that follow from it are told whole."""

    run_params: Mapping[str, Any] = {}

    @classmethod
    def command(cls, pipeline: str = "__default__", **params: Any) -> str:
        """The command that runs another pipeline with profile and parameters of this run, as a user here types it.

        Args:
            pipeline: its name.
            **params: parameters besides, with `__` for the dot of a group.
        """
        flat = {name.replace("__", "."): value for name, value in params.items()}
        found = "" if shutil.which("kedro") or not MADE_HERE.is_file() else f"{MADE_HERE.parent}/"
        given = flatten(cls.run_params.get("runtime_params") or {})
        only = given.keys() - ({"seeds"} if "seed" in flat else set())
        return found + run_command(cls.run_params, pipelines=[pipeline], params=flat, only=only)


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`group.name` of every parameter in nested groups."""
    flat: dict[str, Any] = {}
    for name, value in params.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def written(value: object) -> str:
    """A value as `--params` reads it: lists with blanks, since a comma begins the next parameter."""
    if isinstance(value, (list, tuple)):
        return " ".join(written(item) for item in value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
