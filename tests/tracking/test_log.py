"""Logging to a run, to none, and to a store that has gone."""

import os
import shutil
import signal
import time
from pathlib import Path

import mlflow
import pytest
import sqlalchemy

from flag_kedro.errors import RunInterrupted
from flag_kedro.hooks.signals import StopOnSignals
from flag_kedro.tracking.interrupts import forget_interrupt
from flag_kedro.tracking.log import log_metrics, set_tags, tag_training_run
from flag_kedro.tracking.upload import keep_in, num_kept, send


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
    assert caplog.text.count(f"log_batch of run {run.info.run_id} is not logged") == 3
    mlflow.MlflowClient().restore_run(run.info.run_id)


def test_a_signal_that_comes_while_the_store_writes_stops_the_run_and_loses_nothing(run, tmp_path: Path):
    def interrupt(connection: object, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT"):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)

    before = signal.signal(signal.SIGTERM, StopOnSignals().stop)
    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", interrupt)
    keep_in(tmp_path / "unsent")
    try:
        with pytest.raises(RunInterrupted, match="stopped by SIGTERM"):
            log_metrics({"ppo/loss": 1.5}, 32, 0)
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", interrupt)
        signal.signal(signal.SIGTERM, before)
        forget_interrupt()
    assert num_kept() == 1  # nobody knows whether it arrived
    send()
    assert mlflow.get_run(run.info.run_id).data.metrics == {"ppo/loss": 1.5}
