"""`kedro run` that was killed or stopped goes on when the same command is given again."""

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import mlflow
import pytest

from kedro_server import StartedCommand

Kedro = Callable[..., "subprocess.CompletedProcess[str]"]
StartKedro = Callable[..., AbstractContextManager[StartedCommand]]
CHAOS_KILLS = 100


def newest_update(data_dir: Path) -> int:
    found = (data_dir / "06_models" / "checkpoints").glob("*/update-*")
    return max((int(path.name.removeprefix("update-")) for path in found), default=0)


def runs(data_dir: Path) -> list[mlflow.entities.Run]:
    """All runs, the oldest first."""
    store = mlflow.MlflowClient(f"sqlite:///{data_dir / 'mlflow.db'}")
    experiment = store.get_experiment_by_name("flag_kedro")
    return list(store.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"]))


def curve(data_dir: Path, run: mlflow.entities.Run, metric: str) -> list[tuple[int, float]]:
    store = mlflow.MlflowClient(f"sqlite:///{data_dir / 'mlflow.db'}")
    return [(point.step, point.value) for point in store.get_metric_history(run.info.run_id, metric)]


def outcome(data_dir: Path) -> tuple[str, list[dict[str, float]]]:
    """The bundle's hashes and the training history."""
    manifest = (data_dir / "06_models" / "policy" / "MANIFEST.json").read_text()
    return manifest, json.loads((data_dir / "08_reporting" / "training_history.json").read_text())


def bare_metrics(run: mlflow.entities.Run) -> dict[str, float]:
    """All metrics without times and the machine's; of a run that was judged too, those of its training."""
    told = {name: value for name, value in run.data.metrics.items() if not name.startswith(("system/", "test/"))}
    learned = {name: value for name, value in told.items() if "second" not in name}
    return {name: value for name, value in learned.items() if not name.startswith(("all/", "backtest/", "trial/"))}


def test_a_killed_run_goes_on_and_ends_with_the_same_bits(
    start_kedro: StartKedro, kedro: Kedro, small_run: str, finished_run: Path, untrained_run: Path
):
    training = "run", "--pipelines=training"
    with start_kedro(*training, data_dir=untrained_run, params=small_run) as first:
        first.wait_until(lambda: newest_update(untrained_run) >= 2)
        first.send_signal(signal.SIGKILL)
        assert first.wait() == -signal.SIGKILL
    again = kedro(*training, data_dir=untrained_run, params=small_run)
    assert "going on after update" in again.stdout + again.stderr
    assert outcome(untrained_run) == outcome(finished_run)
    killed, resumed = runs(untrained_run)
    assert (killed.info.status, resumed.info.status) == ("KILLED", "FINISHED")
    assert resumed.data.tags["resumed_from"] == killed.info.run_id
    (plain,) = runs(finished_run)
    assert bare_metrics(resumed) == bare_metrics(plain)
    assert curve(untrained_run, resumed, "ppo/loss") == curve(finished_run, plain, "ppo/loss")
    assert list((untrained_run / "06_models" / "checkpoints").iterdir()) == []  # so that the same command trains anew


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_stopped_run_leaves_a_last_checkpoint_and_says_so(
    number: signal.Signals,
    start_kedro: StartKedro,
    kedro: Kedro,
    small_run: str,
    finished_run: Path,
    untrained_run: Path,
):
    seldom = small_run.replace("checkpoint_interval=1", "checkpoint_interval=1000")
    assert seldom != small_run
    with start_kedro("run", "--pipelines=training", data_dir=untrained_run, params=seldom) as first:
        first.wait_until(lambda: "update 2 of 4" in first.output())
        first.send_signal(number)
        assert first.wait(60) != 0
        output = first.output()
    assert newest_update(untrained_run) >= 2, output
    assert "the same command goes on there" in " ".join(output.split())
    assert runs(untrained_run)[0].info.status == "FAILED"
    kedro("run", "--pipelines=training", data_dir=untrained_run, params=seldom)
    assert outcome(untrained_run)[1] == outcome(finished_run)[1]
    assert runs(untrained_run)[1].data.tags["resumed_from"] == runs(untrained_run)[0].info.run_id


ROLL = "walk_forward.train_sessions=60,walk_forward.validation_sessions=20,walk_forward.test_sessions=50"


def rows_done(data_dir: Path) -> int:
    return len(list((data_dir / "06_models" / "walk_forward").glob("*/*.json")))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_walk_forward_goes_on_and_ends_with_the_same_results(
    number: signal.Signals, start_kedro: StartKedro, kedro: Kedro, small_run: str, tmp_path: Path
):
    """Two folds x two seeds, stopped in the second training; its parent and the child in progress end as told."""
    params = f"{small_run},{ROLL},seeds=1 2"
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    kedro("run", "--pipelines=walk_forward", data_dir=whole, params=params)
    with start_kedro("run", "--pipelines=walk_forward", data_dir=stopped, params=params) as command:
        firsts: set[str] = set()

        def second_has_begun() -> bool:
            trainings = {path.parent.name for path in stopped.glob("06_models/walk_forward/*/checkpoints/*/update-*")}
            if rows_done(stopped) == 0:
                firsts.update(trainings)
            return rows_done(stopped) == 1 and bool(trainings - firsts)

        command.wait_until(second_has_begun)
        command.send_signal(number)
        command.wait()
    again = kedro("run", "--pipelines=walk_forward", data_dir=stopped, params=params)
    output = " ".join((again.stdout + again.stderr).split())
    assert "fold 1 seed 1 (known already)" in output
    assert "going on after update" in output
    results = [json.loads((folder / "08_reporting" / "walk_forward.json").read_text()) for folder in (whole, stopped)]
    assert results[0] == results[1]
    ended = "KILLED" if number == signal.SIGKILL else "FAILED"
    statuses = [(run.info.run_name, run.info.status) for run in runs(stopped)]
    whole_name, trainings = (
        runs(stopped)[0].info.run_name,
        [f"fold {fold} seed {seed}" for fold in (1, 2) for seed in (1, 2)],
    )
    assert whole_name.startswith("walk_forward ALDR")
    assert statuses[:3] == [(whole_name, ended), (trainings[0], "FINISHED"), (trainings[1], ended)]
    assert statuses[3:] == [(name, "FINISHED") for name in (whole_name, *trainings)]
    assert not list((stopped / "06_models" / "walk_forward").iterdir())


@pytest.mark.slow
def test_seeds_and_a_sweep_are_counted_by_the_backtest(kedro: Kedro, small_run: str, tmp_path: Path):
    """A sweep of 2 x 2, then two seeds of one of its configurations: 2 scored, 2 more tried."""
    kedro("run", "--pipelines=sweep", data_dir=tmp_path, params=f"{small_run},seeds=1 2,sweep.grid.ppo.gamma=0.5 0.9")
    done = kedro("run", data_dir=tmp_path, params=f"{small_run},seeds=1 2")
    inference = json.loads((tmp_path / "08_reporting" / "backtest_inference.json").read_text())
    assert inference["num_trials"] == 4
    assert inference["symbols"]["ALDR"]["flag_trader"]["num_trials"] == 4
    assert inference["seeds"]["ALDR"]["sharpe_ratio"]["num"] == 2
    found = json.loads((tmp_path / "08_reporting" / "seeds.json").read_text())
    assert found["seeds"] == [1, 2]
    assert "Seeds 1 2 on the test window" in done.stdout
    judged = json.loads((tmp_path / "08_reporting" / "backtest_metrics.json").read_text())["results"]
    for symbol, scores in found["rows"][0]["scores"].items():
        for metric, value in scores["flag_trader"].items():
            assert judged[symbol]["flag_trader"][metric] == value, (symbol, metric)


@pytest.mark.slow
def test_chaos(small_run: str, finished_run: Path, tmp_path: Path, kedro: Kedro, start_kedro: StartKedro):
    """A hundred kills at random moments, also inside a save; the last start finishes with the uninterrupted bits."""
    kedro("run", "--pipelines=ingest", data_dir=tmp_path, params=small_run)
    kedro("run", "--pipelines=features", data_dir=tmp_path, params=small_run)
    rng, kills, finished = random.Random(0), 0, 0
    while kills < CHAOS_KILLS:
        with start_kedro("run", "--pipelines=training", data_dir=tmp_path, params=small_run) as training:
            if rng.random() < 0.75:  # else at any moment from the start on
                training.wait_until(lambda: "weights learn" in training.output() or training.poll() is not None)
            end = time.monotonic() + rng.uniform(0.0, 5.0)
            while training.poll() is None and time.monotonic() < end:
                time.sleep(0.002)
            training.send_signal(signal.SIGKILL)
            if training.wait() == -signal.SIGKILL:
                kills += 1
                continue
            assert training.returncode == 0, training.output()
            finished += 1
            assert outcome(tmp_path) == outcome(finished_run)
    kedro("run", "--pipelines=training", data_dir=tmp_path, params=small_run)
    assert outcome(tmp_path) == outcome(finished_run)
    assert finished >= 3
    assert all(run.info.status in ("KILLED", "FINISHED") for run in runs(tmp_path))
    assert bare_metrics(runs(tmp_path)[-1]) == bare_metrics(runs(finished_run)[-1])
    resumed = [run for run in runs(tmp_path) if "resumed_from" in run.data.tags]
    print(f"{kills} kills, {len(resumed)} went on after a checkpoint, {finished} finished in between")  # noqa: T201
    assert len(resumed) >= CHAOS_KILLS / 10
