"""The pipelines as a whole."""

import ast
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from flag_kedro.pipeline_registry import register_pipelines

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ["torch", "transformers", "mlflow", "pandera", "plotly.offline", "IPython", "sklearn", "scipy.stats"]
HEAVY += ["exchange_calendars", "yfinance"]
"""What takes long to import. kedro-mlflow's own commands import mlflow again, which this project cannot help."""


def test_listing_pipelines_imports_no_heavy_library():
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from kedro.framework.startup import bootstrap_project\n"
        "bootstrap_project(Path.cwd())\n"
        "from kedro.framework.project import pipelines\n"
        "print([sorted(pipelines), sorted(sys.modules)])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pipelines, modules = ast.literal_eval(done.stdout.splitlines()[-1])
    names = {"__default__", "backtest", "certify", "features", "ingest", "reproduce", "sb3_baseline", "sweep"}
    names |= {"train", "training", "walk_forward"}
    assert names <= set(pipelines)
    assert set(HEAVY) & set(modules) == set()


def test_every_node_annotation_resolves_at_run_time():
    """One unresolved name makes Kedro hand a node raw dicts instead of typed parameters."""
    for node in {node for pipeline in register_pipelines().values() for node in pipeline.nodes}:
        assert typing.get_type_hints(node.func)


def test_train_is_ingest_features_and_training():
    pipelines = register_pipelines()
    parts = [set(pipelines[name].nodes) for name in ("ingest", "features", "training")]
    assert set(pipelines["train"].nodes) == set.union(*parts)


def test_seeds_are_scored_before_trials_are_counted():
    names = [node.name.rpartition(".")[2] for node in register_pipelines()["__default__"].nodes]
    assert names.index("run_seeds") < names.index("compare_backtest")


def test_experiments_begin_with_the_market():
    pipelines = register_pipelines()
    for name in ("walk_forward", "sweep"):
        assert set(pipelines["ingest"].nodes) | set(pipelines["features"].nodes) < set(pipelines[name].nodes)


@pytest.mark.filterwarnings("error")  # Kedro warns of a box that others interrupt
def test_a_person_sees_a_few_boxes_first():
    pipelines = register_pipelines()
    boxes = {node.namespace for node in pipelines["__default__"].nodes}
    assert boxes == {"ingest", "features", "setup", "training", "strategies", "backtest"}
    assert all(node.namespace for pipeline in pipelines.values() for node in pipeline.nodes)


def test_node_is_known_without_its_box():
    names = {node.name for pipeline in register_pipelines().values() for node in pipeline.nodes}
    assert len({name.rpartition(".")[2] for name in names}) == len(names)


def test_no_node_has_more_than_nine_inputs():
    nodes = {node.name: len(node.inputs) for pipeline in register_pipelines().values() for node in pipeline.nodes}
    assert {name: inputs for name, inputs in nodes.items() if inputs > 9} == {}
