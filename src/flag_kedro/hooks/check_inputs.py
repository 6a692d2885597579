"""What a run reads and no earlier one has made is named before anything starts, with the command that makes it."""

from collections.abc import Iterable
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.pipeline import Pipeline

from flag_kedro.datasets.rebuilt import Rebuilt
from flag_kedro.errors import DataError
from flag_kedro.hooks.command import run_command
from flag_kedro.hooks.rebuilt import producer

MAKERS = ("ingest", "features", "stream", "training", "train")
"""Pipelines that others build on, the shortest first."""


class CheckInputs:
    """Refuses to begin where files are missing that another pipeline makes."""

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: Any) -> None:
        """Look for all inputs.

        Raises:
            DataError: naming those that are missing, and what to run first.
        """
        missing = missing_inputs(pipeline, catalog)
        if not missing:
            return
        held = [name for name in missing if name not in catalog]
        if held:
            begin = {
                "from_nodes": sorted({producer(name).name.rpartition(".")[2] for name in held}),
                "node_names": None,
            }
            raise DataError(
                f"{', '.join(held)}: in memory only, made by nodes before those that were chosen. Begin there:\n"
                f"  {run_command(run_params | begin)}"
            )
        lines = "\n  ".join(f"{name}: {_place(name, catalog)}" for name in missing)
        maker = maker_of(set(missing), catalog)
        command = run_command(run_params, pipelines=[maker])
        raise DataError(f"this run reads what no run has made yet:\n  {lines}\nRun {maker} first:\n  {command}")


def missing_inputs(pipeline: Pipeline, catalog: Any) -> list[str]:
    """Datasets that the pipeline's nodes need, that it does not make, and that are not there."""
    made, names = pipeline.all_outputs(), list[str]()
    for name in files_behind(pipeline.inputs(), catalog):
        if name not in made and name not in names and _is_missing(name, catalog):
            names.append(name)
    return sorted(names)


def maker_of(names: set[str], catalog: Any) -> str:
    """The shortest pipeline that makes all of `names` and finds what it reads; `train` if none does."""
    for maker in MAKERS:
        if names <= pipelines[maker].all_outputs() and not missing_inputs(pipelines[maker], catalog):
            return maker
    return MAKERS[-1]


def files_behind(names: Iterable[str], catalog: Any) -> Iterable[str]:
    """`names`, and in place of a value in memory that is made anew what it is made of."""
    for name in names:
        if name.startswith("params:") or name == "parameters":
            continue
        if isinstance(catalog.get(name), Rebuilt):
            yield from files_behind(producer(name).inputs, catalog)
        else:
            yield name


def _is_missing(name: str, catalog: Any) -> bool:
    if not any(name in each.all_outputs() for each in pipelines.values()):
        return False  # of a user, who is told by whoever reads it
    return name not in catalog or not (getattr(catalog[name], "may_be_absent", False) or catalog.exists(name))


def _place(name: str, catalog: Any) -> str:
    return str(catalog[name]._filepath)
