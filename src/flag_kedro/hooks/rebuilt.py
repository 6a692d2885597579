"""What is in memory only is made anew where a run begins behind the node that makes it."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.pipeline import Node

from flag_kedro.datasets.rebuilt import Rebuilt


class RebuildDatasets:
    """Tells datasets in memory which node makes them, and MLflow which parameters went in."""

    def __init__(self) -> None:
        self._catalog: Any = None
        self._rebuilt: set[str] = set()

    @hook_impl
    def after_catalog_created(self, catalog: Any) -> None:
        """Bind every such dataset to the node that makes it."""
        self._catalog = catalog
        self._rebuilt = {name for name, dataset in catalog.items() if isinstance(dataset, Rebuilt)}
        for name in self._rebuilt:
            catalog[name].bind(partial(_make, name, catalog))

    @hook_impl(tryfirst=True)
    def before_node_run(self, inputs: dict[str, Any]) -> None:
        """Show kedro-mlflow the parameters of inputs that no node of this run made, so that they are logged too.

        `ShowTypedParameters`, which stands before this class in `settings.HOOKS` and so comes later, flattens them.
        """
        for name in [name for name in inputs if name in self._rebuilt and self._catalog[name].was_rebuilt]:
            for parameter in self._parameters_behind(name):
                inputs.setdefault(parameter, self._catalog[parameter].load())

    def _parameters_behind(self, name: str) -> Iterator[str]:
        """Parameters that went into a dataset in memory, those of others before it included."""
        for source in producer(name).inputs:
            if source.startswith("params:"):
                yield source
            elif source in self._rebuilt:
                yield from self._parameters_behind(source)


def producer(name: str) -> Node:
    """The node that makes a dataset, in whichever pipeline."""
    node: Node = next(node for pipeline in pipelines.values() for node in pipeline.nodes if name in node.outputs)
    return node


def _make(name: str, catalog: Any) -> Any:
    """Run the node that makes `name` on what the catalog has."""
    node = producer(name)
    return node.run({source: catalog.load(source) for source in node.inputs})[name]
