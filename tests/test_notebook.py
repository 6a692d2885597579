"""The notebooks run as they are, and are kept without outputs."""

import os
from pathlib import Path

import nbformat
import pytest
from kedro.utils import find_kedro_project
from mlflow.tracking import MlflowClient
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "notebooks" / "01_quickstart.ipynb"
NOTEBOOKS = sorted(NOTEBOOK.parent.glob("*.ipynb"))
FOLDERS = {"root": ROOT, "notebooks": ROOT / "notebooks"}


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    """The quickstart."""
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [(cell.outputs, cell.execution_count) for cell in cells] == [([], None)] * len(cells)


def test_project_is_found_from_both_folders() -> None:
    """By what the quickstart calls; behind that, it is the same from wherever it was started."""
    assert [find_kedro_project(folder) for folder in FOLDERS.values()] == [ROOT, ROOT]


@pytest.mark.parametrize("folder", [pytest.param("root", marks=pytest.mark.slow), "notebooks"])
def test_quickstart_reads_a_finished_run(
    folder: str, notebook: nbformat.NotebookNode, finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = f"sqlite:///{finished_run / 'mlflow.db'}"
    monkeypatch.setenv("FLAG_DATA_DIR", str(finished_run))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    runs, files = num_runs(store), changed_files(finished_run)

    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(FOLDERS[folder])}}).execute()

    shown = {cell.id: [output.get("data", {}) for output in cell.get("outputs", [])] for cell in notebook.cells}
    for plot in ("equity", "training", "compare"):
        assert any("application/vnd.plotly.v1+json" in data for data in shown[plot])
    assert "True" in shown["same"][-1]["text/plain"]
    assert num_runs(store) == runs, "reading must not open an MLflow run"
    assert changed_files(finished_run) == files, "reading must not write"


@pytest.mark.slow
def test_own_tables_become_states_and_a_rule_trades_on_them() -> None:
    notebook = nbformat.read(NOTEBOOK.parent / "02_own_data.ipynb", as_version=4)
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(FOLDERS["notebooks"])}}).execute()
    (shown,) = [output["data"]["text/plain"] for cell in notebook.cells if cell.id == "rule" for output in cell.outputs]
    assert "believe" in shown


@pytest.mark.slow
def test_runs_are_compared(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = f"sqlite:///{finished_run / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    runs = num_runs(store)
    notebook = nbformat.read(NOTEBOOK.parent / "03_compare_runs.ipynb", as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(FOLDERS["notebooks"])}}).execute()
    shown = {cell.id: [output.get("data", {}) for output in cell.get("outputs", [])] for cell in notebook.cells}
    assert "all/flag_trader" in shown["runs"][-1]["text/html"]
    assert any("application/vnd.plotly.v1+json" in data for data in shown["curves"])
    assert num_runs(store) == runs, "reading must not open an MLflow run"


def num_runs(store: str) -> int:
    client = MlflowClient(store)
    return len(client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]))


def changed_files(data_dir: Path) -> dict[str, int]:
    """When each file of the run was last written, MLflow's own store left out."""
    return {
        os.fspath(file.relative_to(data_dir)): file.stat().st_mtime_ns
        for file in sorted(data_dir.rglob("*"))
        if file.is_file() and not file.name.startswith("mlflow.db")
    }
