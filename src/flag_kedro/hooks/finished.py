"""What trainings leave for the case that they are interrupted goes once all they made is saved."""

from collections import defaultdict
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.pipeline.node import Node

CHECKPOINTS = "checkpoints"
ROWS_OF = {
    "walk_forward_results": "walk_forward_rows",
    "seed_results": "seed_rows",
    "sweep_results": "sweep_rows",
    "certificate": "certificate_rows",
}
"""Outputs of experiments, and where rows of their trainings wait until they are saved."""


class RemoveFinished:
    """Removes checkpoints and rows that the same command would go on from, so that it trains anew.

    They belong to the node that has their folder as an input, and go once every output of that node is saved, in
    whichever order: killed between two outputs, the node is done again at no cost.
    """

    def __init__(self) -> None:
        self._catalog: Any = None
        self._saved: defaultdict[str, set[str]] = defaultdict(set)
        self._keys: dict[str, str] = {}

    @hook_impl
    def before_pipeline_run(self, catalog: Any) -> None:
        """Begin anew."""
        self._catalog = catalog
        self._saved.clear()
        self._keys.clear()

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Remove what `node` needs no more, if this was the last of its outputs to be saved."""
        self._saved[node.name].add(dataset_name)
        if dataset_name in ROWS_OF and data and "key" in data:  # nothing without `seeds`
            self._keys[ROWS_OF[dataset_name]] = data["key"]
        if not self._saved[node.name] >= set(node.outputs):
            return
        if CHECKPOINTS in node.inputs:
            from flag_kedro.ppo.checkpoint import remove_finished  # imports torch

            remove_finished(self._catalog[CHECKPOINTS].load())
        for rows in self._keys.keys() & set(node.inputs):
            from flag_kedro.experiments.finished import remove_rows  # imports torch

            remove_rows(self._catalog[rows].load(), self._keys.pop(rows))
