"""Values in memory: handed on as they are, made anew where nobody saved them."""

import pytest
from kedro.io import DataCatalog, DatasetError, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner
from kedro.runner.runner import _find_nodes_to_resume_from

from flag_kedro.datasets.rebuilt import Rebuilt
from flag_kedro.hooks import rebuilt
from flag_kedro.hooks.rebuilt import RebuildDatasets


def double(number: int) -> list[int]:
    return [2 * number]


def add_one(doubled: list[int]) -> int:
    return doubled[0] + 1


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> DataCatalog:
    nodes = [
        Node(double, inputs="number", outputs="market_split", name="double"),
        Node(add_one, inputs="market_split", outputs="result", name="add_one"),
    ]
    monkeypatch.setattr(rebuilt, "pipelines", {"whole": Pipeline(nodes)})
    catalog = DataCatalog({"number": MemoryDataset(3), "market_split": Rebuilt(), "result": MemoryDataset()})
    RebuildDatasets().after_catalog_created(catalog)
    return catalog


def test_value_is_the_very_object_that_was_saved():
    dataset, value = Rebuilt(), [1, 2]
    dataset.save(value)
    assert dataset.load() is value


def test_run_that_begins_behind_the_node_makes_the_value_anew(catalog: DataCatalog):
    pipeline = rebuilt.pipelines["whole"].from_nodes("add_one")
    SequentialRunner().run(pipeline, catalog)
    assert catalog.load("result") == 7
    assert catalog.load("market_split") is catalog.load("market_split")  # made once


def test_saved_value_is_not_made_anew(catalog: DataCatalog):
    catalog.save("market_split", [10])
    SequentialRunner().run(rebuilt.pipelines["whole"].from_nodes("add_one"), catalog)
    assert catalog.load("result") == 11


def test_released_value_is_held_no_longer(catalog: DataCatalog):
    catalog.save("market_split", [10])
    catalog["market_split"].release()
    assert catalog.load("market_split") == [6]


def test_without_hooks_it_says_why_nothing_is_there():
    with pytest.raises(DatasetError, match="without the project's hooks"):
        Rebuilt().load()


def test_value_that_is_not_kept_is_made_anew_for_each_that_loads_it(catalog: DataCatalog):
    dataset, made = Rebuilt(keep=False), []
    dataset.bind(lambda: made.append("anew") or [len(made)])
    dataset.save([0])
    assert [dataset.load(), dataset.load(), dataset.load()] == [[0], [1], [2]]
    assert dataset.was_rebuilt


def test_failed_run_is_suggested_to_go_on_at_the_node_that_failed(catalog: DataCatalog):
    """Nodes before it are not: their outputs, a trained policy among them, are there."""
    pipeline = rebuilt.pipelines["whole"]
    unfinished = [node for node in pipeline.nodes if node.name == "add_one"]
    assert _find_nodes_to_resume_from(pipeline, unfinished, catalog) == {"add_one"}
