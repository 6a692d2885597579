"""A tracking server that hangs, refuses or comes back, seen by whoever logs."""

import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.exceptions import MlflowException

from flag_kedro.tracking import link
from flag_kedro.tracking.children import child_run
from flag_kedro.tracking.log import log_artifact, log_json, log_metrics, set_tags
from flag_kedro.tracking.upload import keep_in, num_kept, send, try_to_send
from tracking_server import TrackingServer, serving

SECONDS = 1
WINDOW = DatasetInput(Dataset("ALDR", "c0ffee", "code", "{}"), [InputTag("mlflow.data.context", "training")])


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrackingServer]:
    """A server whose experiment is there, with a journal in `tmp_path`."""
    before = mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(SECONDS))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with serving() as server:
        mlflow.set_tracking_uri(server.address)
        mlflow.MlflowClient().create_experiment("flag_kedro")
        keep_in(tmp_path / "unsent")
        yield server
        mlflow.end_run()
        mlflow.set_tracking_uri(before)


def log_everything(folder: Path) -> None:
    """What a run logs, a file and a folder included."""
    for step in range(20):
        log_metrics({"ppo/loss": 0.5 * step, "backtest/^GSPC/flat/turnover": 1.0}, step, 1000 + step)
    mlflow.log_params({"ppo.gamma": 0.9})
    mlflow.MlflowClient().log_inputs(mlflow.active_run().info.run_id, [WINDOW])
    set_tags({"data_hash": "abc"})
    bundle = folder / "policy"
    bundle.mkdir(exist_ok=True)
    (bundle / "heads").write_text("weights")
    log_artifact(bundle)
    (folder / "report.html").write_text("<html>")
    log_artifact(folder / "report.html", "reports")
    log_json({"seed": 1}, "trial.json")


def check_complete(server: TrackingServer, run_id: str) -> None:
    run = server.runs[run_id]
    metrics = server.metrics(run_id)
    assert metrics["ppo/loss"] == [(step, 0.5 * step) for step in range(20)]
    assert metrics["backtest/_x005E_GSPC/flat/turnover"] == [(step, 1.0) for step in range(20)]
    assert run["params"] == {"ppo.gamma": "0.9"}
    assert run["tags"]["data_hash"] == "abc"
    assert run["inputs"][-1]["dataset"]["digest"] == "c0ffee"
    assert run["inputs"][-1]["tags"] == [{"key": "mlflow.data.context", "value": "training"}]
    assert run["info"]["status"] == "FINISHED"
    place = f"1/{run_id}/artifacts"
    assert server.files[f"{place}/policy/heads"] == b"weights"
    assert server.files[f"{place}/reports/report.html"] == b"<html>"
    assert server.files[f"{place}/trial.json"] == b'{"seed": 1}'


def test_a_server_that_answers_is_told_everything_at_once(server: TrackingServer, tmp_path: Path):
    with mlflow.start_run(experiment_id="1", run_name="x") as run:
        log_everything(tmp_path)
    check_complete(server, run.info.run_id)
    assert num_kept() == 0


@pytest.mark.parametrize("mode", ["hang", "refuse", "drop"])
@pytest.mark.parametrize("times", [0, 5])
def test_a_lost_server_costs_seconds_and_is_told_everything_later(
    server: TrackingServer, tmp_path: Path, mode: str, times: int, caplog: pytest.LogCaptureFixture
):
    run = mlflow.start_run(experiment_id="1", run_name="x")
    server.turn(mode, after="runs/log-batch", times=times)
    begun = time.monotonic()
    log_everything(tmp_path)
    mlflow.end_run()
    assert not try_to_send()
    assert time.monotonic() - begun < 4 * SECONDS
    assert "MLflow does not answer" in caplog.text
    assert caplog.text.count("The run goes on without it") == 1
    assert server.runs[run.info.run_id]["info"]["status"] == "RUNNING"
    server.answer()
    send()
    check_complete(server, run.info.run_id)
    assert num_kept() == 0
    assert not (tmp_path / "unsent").exists()


def test_a_run_below_the_run_that_is_made_while_the_server_is_away_is_made_later(
    server: TrackingServer, tmp_path: Path
):
    parent = mlflow.start_run(experiment_id="1", run_name="train ALDR seeds 0 1")
    server.turn("refuse", after="runs/create", times=1)
    with child_run("train seed 1", {"seed": 1}):
        log_everything(tmp_path)
    mlflow.end_run()
    assert list(server.runs) == [parent.info.run_id]
    server.answer()
    send()
    (child,) = set(server.runs) - {parent.info.run_id}
    assert server.runs[child]["params"].pop("seed") == "1"
    check_complete(server, child)
    assert server.runs[child]["tags"]["mlflow.parentRunId"] == parent.info.run_id
    assert server.runs[child]["info"]["run_name"] == "train seed 1"


def test_a_server_that_comes_back_is_told_what_it_missed_and_then_all_the_rest(
    server: TrackingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(link, "PATIENCE", 0.2)
    keep_in(tmp_path / "unsent")
    with mlflow.start_run(experiment_id="1") as run:
        server.turn("refuse", after="runs/log-batch", times=0)
        log_metrics({"a": 1.0}, 1, 1)
        server.answer()
        log_metrics({"a": 2.0}, 2, 2)
        assert server.metrics(run.info.run_id) == {}  # it is not asked at every call
        time.sleep(0.3)
        log_metrics({"a": 3.0}, 3, 3)
        assert server.metrics(run.info.run_id) == {"a": [(1, 1.0), (2, 2.0), (3, 3.0)]}


def test_questions_to_a_lost_server_fail_without_waiting(server: TrackingServer):
    with mlflow.start_run(experiment_id="1") as run:
        server.turn("hang", after="runs/log-batch", times=0)
        log_metrics({"a": 1.0}, 1, 1)
        begun = time.monotonic()
        with pytest.raises(MlflowException, match="did not answer before"):
            mlflow.get_run(run.info.run_id)
        assert time.monotonic() - begun < 0.5 * SECONDS
        server.answer()


def test_what_the_server_refuses_is_a_warning_and_is_not_kept(server: TrackingServer, caplog: pytest.LogCaptureFixture):
    with mlflow.start_run(experiment_id="1") as run:
        shown = server.runs.pop(run.info.run_id)  # somebody deleted it
        log_metrics({"a": 1.0}, 1, 1)
        server.runs[run.info.run_id] = shown
    assert "log_batch of run" in caplog.text
    assert num_kept() == 0
    assert shown["info"]["status"] == "FINISHED"
