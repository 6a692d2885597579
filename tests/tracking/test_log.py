"""Logging to a run, to none, and to a store that has gone."""

import shutil
from pathlib import Path

import mlflow
import pytest
import sqlalchemy

from flag_kedro.errors import RunInterrupted
from flag_kedro.tracking.log import log_metrics, set_tags, tag_training_run


@pytest.fixture
def run(empty_store: Path, tmp_path: Path):
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{shutil.copy(empty_store, tmp_path)}")
    with mlflow.start_run() as active:
        yield active
    mlflow.set_tracking_uri(before)


def test_metrics_and_tags_reach_the_active_run(run):
    log_metrics({"ppo/loss": 1.5}, 32, 0)
    set_tags({"data_hash": "abc"})
    stored = mlflow.get_run(run.info.run_id).data
    assert stored.metrics == {"ppo/loss": 1.5}
    assert stored.tags["data_hash"] == "abc"


def test_without_a_run_none_is_opened():
    log_metrics({"ppo/loss": 1.5}, 32, 0)
    set_tags({"data_hash": "abc"})
    tag_training_run("abc")
    assert mlflow.active_run() is None


def test_store_that_stops_answering_is_a_warning(run, caplog: pytest.LogCaptureFixture):
    mlflow.delete_run(run.info.run_id)  # a store that takes nothing more for this run
    log_metrics({"ppo/loss": 1.5}, 32, 0)
    set_tags({"data_hash": "abc"})
    tag_training_run("abc")
    said = [record.getMessage() for record in caplog.records if record.name == "flag_kedro.tracking.log"]
    assert [line.split(" not logged")[0] for line in said] == [
        "metrics of step 32",
        "tags data_hash",
        "tag train_run_id",
    ]
    mlflow.MlflowClient().restore_run(run.info.run_id)


def test_a_signal_that_comes_while_the_store_writes_still_stops_the_run(run):
    def interrupt(connection: object, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT"):
            raise RunInterrupted("stopped by SIGTERM")

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", interrupt)
    try:
        with pytest.raises(RunInterrupted, match="stopped by SIGTERM"):
            log_metrics({"ppo/loss": 1.5}, 32, 0)
        with pytest.raises(RunInterrupted, match="stopped by SIGTERM"):
            set_tags({"data_hash": "abc"})
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", interrupt)


def test_a_store_that_fails_while_a_signal_is_tidied_up_after_is_a_warning(run, caplog: pytest.LogCaptureFixture):
    mlflow.delete_run(run.info.run_id)
    try:
        raise RunInterrupted("stopped by SIGTERM")
    except RunInterrupted:
        set_tags({"flag.error": "stopped"})
    assert "tags flag.error not logged" in caplog.text
    mlflow.MlflowClient().restore_run(run.info.run_id)
