"""`kedro run` as Kedro has it, refusing what cannot work here with what to write instead."""

import copy
import difflib
import re
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.project import pipelines
from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner
from kedro.utils import load_obj

CONF = "conf"
"""Folder of profiles, in the project's folder, where commands run."""
SELECTING = ("tags", "from_nodes", "to_nodes", "node_names", "from_inputs", "to_outputs")
BY_NODE = ("from_nodes", "to_nodes", "node_names")
IN_ORDER = (
    "nodes run one after the other in one thread, since MLflow's run, the data folder's lock and Ctrl-C belong to it. "
    "Leave the option out; a training is spread over processes by ppo.num_processes"
)


@click.group(name="flag_kedro")
def cli() -> None:
    """Commands of this project."""


def parse_params(context: click.Context, option: click.Parameter, value: Any) -> Any:
    """Read `--params` as Kedro does; a list with commas is told how to be written.

    Raises:
        click.UsageError: when it cannot be read.
    """
    try:
        return _option("params").callback(context, option, value)  # type: ignore[misc]  # Kedro's own
    except click.UsageError as error:
        if "must contain a key and a value" not in error.message:
            raise
        blanks = re.sub(r",\s*(?=[^=,]*(,|$))", " ", value)
        raise click.UsageError(
            f"--params={value!r}: a comma begins the next parameter, which needs NAME=VALUE; items of a list are "
            f'separated by blanks:\n  --params="{blanks}"',
            context,
        ) from None


def check_runner(runner: str | None, *, is_async: bool, runner_params: dict[str, Any]) -> None:
    """Refuse every way of running nodes outside the main thread.

    Raises:
        click.UsageError: naming the option.
    """
    if is_async or runner_params.get("is_async"):
        option = "--async" if is_async else "--runner-params=is_async=True"
        raise click.UsageError(f"{option}: {IN_ORDER}")
    try:
        chosen = load_obj(runner or "SequentialRunner", "kedro.runner")
    except (AttributeError, ImportError, ValueError) as error:
        raise click.UsageError(f"--runner={runner}: there is no such runner ({error}); leave the option out") from error
    if not (isinstance(chosen, type) and issubclass(chosen, SequentialRunner)):
        raise click.UsageError(f"--runner={runner}: {IN_ORDER}")


def check_profile(name: str | None) -> None:
    """Refuse a profile that `conf` does not have.

    Raises:
        click.UsageError: naming it, with those that are meant or known.
    """
    conf = Path(CONF)
    known = sorted(folder.name for folder in conf.iterdir() if folder.is_dir()) if conf.is_dir() else []
    if name is None or not known or name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    raise click.UsageError(f"--env={name}: there is no folder {conf / name}; {hint}")


def select(names: list[str], chosen: dict[str, Any]) -> dict[str, Any]:
    """What was chosen, each node by its whole name; refuse pipelines, nodes, datasets and tags that are not there.

    A node may be named without its namespace: names differ without it, too.

    Raises:
        click.UsageError: naming them, with those that are meant or known.
    """
    whole = Pipeline([])
    for name in names or ["__default__"]:
        if name not in pipelines:
            near = difflib.get_close_matches(name, list(pipelines), n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(pipelines))}"
            raise click.UsageError(f"--pipelines={name}: there is no such pipeline; {hint}")
        whole += pipelines[name]
    whole_names = {node.name.rpartition(".")[2]: node.name for node in whole.nodes}
    chosen = {
        option: [whole_names.get(value, value) for value in values] if option in BY_NODE else values
        for option, values in chosen.items()
    }
    for option, values in chosen.items():
        try:
            whole.filter(**{option: values})
        except ValueError as error:
            shown = f"--{option.replace('node_names', 'nodes').replace('_', '-')}={','.join(values)}"
            raise click.UsageError(f"{shown}: {_missing(whole, option, error)}") from error
    return chosen


def _missing(whole: Pipeline, option: str, error: ValueError) -> str:
    """What there is of the kind that was asked for."""
    if option == "tags":
        tags = sorted({tag for node in whole.nodes for tag in node.tags})
        known = f"nodes have the tags {', '.join(tags)}" if tags else "nodes of this project have no tags"
        return f"no node has such a tag; {known}. Choose nodes by --nodes, --from-nodes and --to-nodes"
    kind = "datasets" if option in ("from_inputs", "to_outputs") else "nodes"
    names = sorted(whole.datasets()) if kind == "datasets" else [node.name for node in whole.nodes]
    return f"{str(error).splitlines()[0]} Its {kind} are {', '.join(names)}"


_kedros_callback: Any = kedro_run.callback


def _option(name: str) -> click.Parameter:
    return next(option for option in kedro_run.params if option.name == name)


def _run(**options: Any) -> Any:
    """Run the pipeline."""
    check_runner(options["runner"], is_async=options["is_async"], runner_params=options["runner_params"])
    if options["conf_source"] is None:
        check_profile(options["env"])
    names = [options["pipeline"]] if options["pipeline"] else options["pipelines"]
    chosen = select(names, {name: options[name] for name in SELECTING if options[name]})
    return _kedros_callback(**options | chosen)


_params = copy.copy(_option("params"))
_params.callback = parse_params
run = copy.copy(kedro_run)
run.params = [_params if option.name == "params" else option for option in kedro_run.params]
run.callback = _run
cli.add_command(run)
