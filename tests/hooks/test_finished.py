"""Checkpoints and rows go once all outputs of their node are saved, in whichever order."""

from itertools import permutations
from pathlib import Path

import pytest
from kedro.io import DataCatalog
from kedro.pipeline import Node

from flag_kedro.datasets.folders import GrowingFolder
from flag_kedro.hooks.finished import RemoveFinished
from flag_kedro.ppo.checkpoint import FINISHED

OUTPUTS = ["policy", "training_wall_times", "training_history"]


@pytest.fixture
def catalog(tmp_path: Path) -> DataCatalog:
    """Folders of checkpoints and rows, each with two trainings, of which the first has just finished."""
    for name in ("checkpoints", "seed_rows"):
        for key in ("first", "second"):
            (tmp_path / name / key).mkdir(parents=True)
            (tmp_path / name / key / "file").write_text("")
    (tmp_path / "checkpoints" / FINISHED).write_text("first")
    return DataCatalog({name: GrowingFolder(filepath=str(tmp_path / name)) for name in ("checkpoints", "seed_rows")})


def node(inputs: list[str], outputs: list[str]) -> Node:
    return Node(lambda *given: given, inputs=inputs, outputs=outputs, name="node")


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


@pytest.mark.parametrize("order", list(permutations(OUTPUTS)))
def test_checkpoints_go_with_the_last_output_to_be_saved(order: tuple[str, ...], catalog: DataCatalog, tmp_path: Path):
    hooks, training = RemoveFinished(), node(["backbone", "checkpoints"], OUTPUTS)
    hooks.before_pipeline_run(catalog)
    for name in order:
        assert left(tmp_path / "checkpoints") == ["first", "second"]
        hooks.after_dataset_saved(name, object(), training)
    assert left(tmp_path / "checkpoints") == ["second"]


def test_an_output_that_was_saved_in_an_earlier_run_does_not_count(catalog: DataCatalog, tmp_path: Path):
    hooks, training = RemoveFinished(), node(["checkpoints"], OUTPUTS)
    hooks.before_pipeline_run(catalog)
    hooks.after_dataset_saved("policy", object(), training)
    hooks.before_pipeline_run(catalog)
    for name in OUTPUTS[1:]:
        hooks.after_dataset_saved(name, object(), training)
    assert left(tmp_path / "checkpoints") == ["first", "second"]


def test_other_nodes_remove_nothing(catalog: DataCatalog, tmp_path: Path):
    hooks = RemoveFinished()
    hooks.before_pipeline_run(catalog)
    hooks.after_dataset_saved("training_history", object(), node(["policy"], ["training_history"]))
    assert left(tmp_path / "checkpoints") == ["first", "second"]


@pytest.mark.parametrize(("results", "expected"), [({"key": "first"}, ["second"]), ({}, ["first", "second"])])
@pytest.mark.parametrize("order", [("seed_results", "seed_plot"), ("seed_plot", "seed_results")])
def test_rows_of_one_experiment_go_with_its_results(
    order: tuple[str, ...], results: dict[str, str], expected: list[str], catalog: DataCatalog, tmp_path: Path
):
    hooks, experiment = RemoveFinished(), node(["policy", "seed_rows"], list(order))
    hooks.before_pipeline_run(catalog)
    for name in order:
        assert left(tmp_path / "seed_rows") == ["first", "second"]
        hooks.after_dataset_saved(name, results if name == "seed_results" else object(), experiment)
    assert left(tmp_path / "seed_rows") == expected
