"""Opening a store: its errors as messages, made by one process at a time, moved with its project."""

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from flag_kedro.errors import TrackingError
from flag_kedro.tracking import opening
from flag_kedro.tracking.log import log_json
from flag_kedro.tracking.opening import open_store
from flag_kedro.tracking.upload import keep_in
from tracking_server import serving


@pytest.fixture(autouse=True)
def _address() -> Iterator[None]:
    before = mlflow.get_tracking_uri()
    yield
    mlflow.set_tracking_uri(before)


def place(project: Path) -> tuple[str, str, str]:
    return f"sqlite:///{project / 'mlflow.db'}", "flag_kedro", (project / "mlartifacts").as_uri()


def new_project(empty_store: Path, folder: Path) -> Path:
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    return folder


def log_run(project: Path) -> str:
    open_store(*place(project))
    keep_in(project / "unsent")
    experiment = mlflow.get_experiment_by_name("flag_kedro")
    with mlflow.start_run(experiment_id=experiment.experiment_id) as run:
        log_json({"seed": 1}, "trial.json")
    return str(run.info.run_id)


def artifact_uri(project: Path, run_id: str) -> str:
    open_store(*place(project))
    return str(mlflow.get_run(run_id).info.artifact_uri)


@pytest.mark.parametrize("go", [shutil.move, shutil.copytree], ids=["moved", "copied"])
def test_a_project_that_went_elsewhere_writes_and_reads_there(empty_store: Path, tmp_path: Path, go):
    old, new = new_project(empty_store, tmp_path / "old"), tmp_path / "new"
    earlier = log_run(old)
    go(old, new)
    later = log_run(new)
    assert (new / "mlartifacts" / later / "artifacts" / "trial.json").exists()
    assert not (old / "mlartifacts" / later).exists()
    assert artifact_uri(new, earlier) == (new / "mlartifacts" / earlier / "artifacts").as_uri()
    assert mlflow.artifacts.load_dict(f"runs:/{earlier}/trial.json") == {"seed": 1}


def test_models_and_their_versions_move_with_the_project(empty_store: Path, tmp_path: Path):
    old, new = new_project(empty_store, tmp_path / "old"), tmp_path / "new"
    log_run(old)
    open_store(*place(old))
    (tmp_path / "note").write_text("weights")
    with mlflow.start_run(experiment_id=mlflow.get_experiment_by_name(place(old)[1]).experiment_id):
        model = mlflow.initialize_logged_model(name="trained_policy")
        mlflow.MlflowClient().log_model_artifact(model.model_id, str(tmp_path / "note"))
        mlflow.finalize_logged_model(model.model_id, "READY")
        mlflow.MlflowClient().create_registered_model("flag_kedro")
        source = f"models:/{model.model_id}"
        version = mlflow.MlflowClient().create_model_version("flag_kedro", source, model_id=model.model_id)
    shutil.move(old, new)
    open_store(*place(new))
    assert mlflow.get_logged_model(model.model_id).artifact_location.startswith((new / "mlartifacts").as_uri())
    fetched = mlflow.artifacts.download_artifacts(f"models:/flag_kedro/{version.version}", dst_path=str(tmp_path / "x"))
    assert (Path(fetched) / "note").read_text() == "weights"


def test_artifacts_that_did_not_come_along_stay_where_they_are(empty_store: Path, tmp_path: Path):
    old, new = new_project(empty_store, tmp_path / "old"), tmp_path / "new"
    earlier = log_run(old)
    new.mkdir()
    shutil.copy(old / "mlflow.db", new)
    assert artifact_uri(new, earlier) == (old / "mlartifacts" / earlier / "artifacts").as_uri()


def test_a_store_of_another_version_is_named_with_what_brings_it_up_to_date(empty_store: Path, tmp_path: Path):
    project = new_project(empty_store, tmp_path / "project")
    with sqlite3.connect(project / "mlflow.db") as database:
        database.execute("update alembic_version set version_num = 'cc1f77228345'")
    database.close()
    with pytest.raises(TrackingError, match=r"made by another version of MLflow") as raised:
        open_store(*place(project))
    assert f"mlflow db upgrade sqlite:///{project / 'mlflow.db'}" in str(raised.value)


def test_a_file_that_is_no_database_is_named(tmp_path: Path):
    (tmp_path / "mlflow.db").write_text("no database " * 100)
    with pytest.raises(TrackingError, match=r"mlflow.db cannot be used as MLflow's store"):
        open_store(*place(tmp_path))


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match=r"file/mlflow.db cannot be opened"):
        open_store(*place(tmp_path / "file"))


def test_a_server_that_refuses_or_hangs_is_named_within_seconds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with serving() as server:
        server.mode = "hang"
        begun = time.monotonic()
        with pytest.raises(TrackingError, match=f"MLflow does not answer at {server.address}"):
            open_store(server.address, "flag_kedro", None)
        assert time.monotonic() - begun < 5.0
    with pytest.raises(TrackingError, match=r"(?s)does not answer.*env -u MLFLOW_TRACKING_URI kedro run"):
        open_store(server.address, "flag_kedro", None)


def test_whoever_waits_for_another_process_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(opening, "SECONDS_TO_OPEN", 0.2)
    lock = opening.FileLock(f"{tmp_path / 'mlflow.db'}.lock")
    with lock, pytest.raises(TrackingError, match="another run has been opening"):
        open_store(*place(tmp_path))


@pytest.mark.slow
def test_two_first_runs_at_once_make_one_store(tmp_path: Path):
    program = f"from flag_kedro.tracking.opening import open_store; open_store(*{place(tmp_path)!r})"
    both = [subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.communicate()[1].count("Traceback") == 0
        assert process.returncode == 0
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        (number,) = database.execute("select count(*) from experiments where name = 'flag_kedro'").fetchone()
    database.close()
    assert number == 1
