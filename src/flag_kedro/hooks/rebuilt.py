"""What is in memory only is made anew where a run begins behind the node that makes it."""

from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
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

    @hook_impl
    def after_catalog_created(self, catalog: Any) -> None:
        """Bind every such dataset to the node that makes it."""
        self._catalog = catalog
        for name, dataset in catalog.items():
            if isinstance(dataset, Rebuilt):
                dataset.bind(partial(_make, name, catalog))

    @hook_impl(tryfirst=True)
    def before_node_run(self, inputs: dict[str, Any]) -> None:
        """Show kedro-mlflow the parameters of inputs that no node of this run makes, so that they are logged too."""
        for name in [name for name in inputs if self._is_remade(name)]:
            for parameter in _parameters_behind(name):
                value = self._catalog[parameter].load()
                inputs.setdefault(
                    parameter, asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
                )

    @hook_impl
    def before_pipeline_run(self, pipeline: Any) -> None:
        """Remember what the run makes itself."""
        self._made = pipeline.all_outputs()

    def _is_remade(self, name: str) -> bool:
        return name not in self._made and isinstance(self._catalog.get(name), Rebuilt)


def producer(name: str) -> Node:
    """The node that makes a dataset, in whichever pipeline."""
    node: Node = next(node for pipeline in pipelines.values() for node in pipeline.nodes if name in node.outputs)
    return node


def _make(name: str, catalog: Any) -> Any:
    """Run the node that makes `name` on what the catalog has."""
    node = producer(name)
    return node.run({source: catalog.load(source) for source in node.inputs})[name]


def _parameters_behind(name: str) -> Iterator[str]:
    """Parameters that went into a dataset in memory, those of others before it included."""
    for source in producer(name).inputs:
        if source.startswith("params:"):
            yield source
        elif source in ("market_split", "market_tables", "training_settings", "strategies"):
            yield from _parameters_behind(source)
