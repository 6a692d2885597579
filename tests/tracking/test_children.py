"""Runs below the command's run."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from flag_kedro.tracking.children import child_run
from flag_kedro.tracking.log import log_metrics, set_tags


@pytest.fixture(scope="module", autouse=True)
def store(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{shutil.copy(empty_store, tmp_path_factory.mktemp('store'))}")
    yield
    mlflow.set_tracking_uri(before)


def children(parent: mlflow.ActiveRun) -> list[mlflow.entities.Run]:
    query = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    return mlflow.search_runs([parent.info.experiment_id], query, output_format="list")


def test_child_has_its_own_figures_and_ends_well():
    with mlflow.start_run() as parent:
        set_tags({"flag.host": "h", "flag.data_dir": "d", "other": "o"})
        with child_run("1-7", {"seed": 7}, {"trained": "earlier"}):
            log_metrics({"env/reward": 2.0}, 32, 0)
            assert mlflow.active_run().info.run_id != parent.info.run_id
        assert mlflow.active_run().info.run_id == parent.info.run_id
        log_metrics({"walk_forward/x": 1.0}, 0, 0)
    (child,) = children(parent)
    assert (child.info.run_name, child.info.status) == ("1-7", "FINISHED")
    assert child.data.params == {"seed": "7"}
    assert child.data.metrics == {"env/reward": 2.0}
    assert (child.data.tags["flag.host"], child.data.tags["trained"]) == ("h", "earlier")
    assert "other" not in child.data.tags
    assert mlflow.get_run(parent.info.run_id).data.metrics == {"walk_forward/x": 1.0}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_child_of_a_block_that_raises_is_failed(error: type[BaseException]):
    parent = mlflow.start_run()
    with pytest.raises(error), child_run("1-7", {}):
        raise error
    assert mlflow.active_run().info.run_id == parent.info.run_id
    mlflow.end_run()
    assert [child.info.status for child in children(parent)] == ["FAILED"]


def test_without_a_run_there_is_no_child():
    with child_run("1-7", {"seed": 7}):
        log_metrics({"env/reward": 2.0}, 32, 0)
        assert mlflow.active_run() is None


def test_where_no_child_can_be_opened_nothing_is_logged_to_the_parent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def refuse(**_: object) -> None:
        raise MlflowException("the store is away")

    with mlflow.start_run() as parent:
        monkeypatch.setattr(mlflow, "start_run", refuse)
        with child_run("1-7", {"seed": 7}):
            log_metrics({"env/reward": 2.0}, 32, 0)
            set_tags({"scored": "true"})
        log_metrics({"later": 1.0}, 0, 0)
    stored = mlflow.get_run(parent.info.run_id).data
    assert stored.metrics == {"later": 1.0}
    assert "scored" not in stored.tags
    assert "no run for 1-7; MLflow said: the store is away" in caplog.text
