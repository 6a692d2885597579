"""What `kedro viz` draws: layers for every pipeline, which it leaves out silently where they run in a circle."""

from pathlib import Path

import pytest

from flag_kedro.pipeline_registry import register_pipelines

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def drawn():
    """kedro-viz's own knowledge of the project."""
    from kedro_viz.data_access import data_access_manager
    from kedro_viz.server import load_and_populate_data

    load_and_populate_data(ROOT)
    return data_access_manager


@pytest.mark.parametrize("name", sorted(register_pipelines()))
def test_layers_have_an_order(name: str, drawn):
    assert drawn.get_sorted_layers_for_registered_pipeline(name)


def test_layers_of_the_main_job_follow_the_data(drawn):
    expected = ["raw", "intermediate", "feature", "model input", "models", "model output", "reporting"]
    assert drawn.get_sorted_layers_for_registered_pipeline("__default__") == expected
