"""A sweep whose combinations a sampler proposes, with real trainings of some updates on 42 sessions of two symbols."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
import pytest

from flag_kedro.backtest.trials import outside_window, paths_before
from flag_kedro.data.config import DataConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.errors import DivergedError
from flag_kedro.experiments import ray_session, runs, training
from flag_kedro.experiments.config import SweepConfig
from flag_kedro.experiments.folds import Fold
from flag_kedro.experiments.scoring import RunSettings
from flag_kedro.pipelines import trainings
from flag_kedro.pipelines.shared import choose_training_settings
from flag_kedro.pipelines.sweep.nodes import draw_frontier, sweep
from flag_kedro.pipelines.sweep.trainings import validate
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.manifest import write_manifest
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.history import PRUNED
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.tracking.trials import known_attempts

pytest.importorskip("optuna", reason="the extra `search` is not installed")

States = dict[str, pl.DataFrame]
Result = dict[str, Any]
PPO = PPOConfig(
    total_timesteps=48, num_envs=1, num_steps=8, minibatch_size=None, validation_interval=1, kl_coef=0.0,
    update_epochs=1, stagger_starts=False,
)  # fmt: skip
ENV = EnvConfig()
CONFIG = SweepConfig(
    sampler="tpe", trials=4, batch=2, ranges={"ppo.learning_rate": "1e-5 3e-2 log"}, grid={"ppo.gamma": "0.5 0.9"},
    prune="median", prune_startup_trials=1,
)  # fmt: skip


pytestmark = pytest.mark.usefixtures("tracking_store")


class StoppedError(Exception):
    """What a signal raises in a run."""


@pytest.fixture(scope="module")
def split(small_states: States, data: DataConfig) -> MarketSplit:
    return MarketSplit(small_states, data, ENV)


@pytest.fixture(scope="module")
def base(split: MarketSplit) -> RunSettings:
    return choose_training_settings(split, PolicyConfig(), PPO, RuntimeConfig(device="cpu", threads=1))


@pytest.fixture(scope="module")
def search(split: MarketSplit, base: RunSettings, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Result]:
    shared = tmp_path_factory.mktemp("backbone")
    write_manifest(shared)
    return lambda folder: sweep(split, shared, folder / "trunk", folder / "rows", CONFIG, base, 3, None)


@pytest.fixture(scope="module")
def searched(search: Callable[[Path], Result], tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, str]:
    """An uninterrupted search and its MLflow run."""
    with mlflow.start_run() as parent:
        return search(tmp_path_factory.mktemp("searched")), parent.info.run_id


def children(parent: str) -> list[mlflow.entities.Run]:
    query = f"tags.`mlflow.parentRunId` = '{parent}'"
    return mlflow.search_runs(["0"], query, order_by=["attributes.start_time ASC"], output_format="list")


def test_results_are_json_and_say_how_the_search_went(searched: tuple[Result, str]):
    result, _ = searched
    stored = json.loads(json.dumps(result, allow_nan=False))
    told = stored["search"]
    assert (told["sampler"], told["num_trials"], len(told["trials"])) == ("tpe", 4, 4)
    assert told["num_pruned"] == sum(each["pruned"] for each in told["trials"])
    assert len(stored["rows"]) == told["num_combinations"] == len(stored["combinations"])
    assert not stored["combinations"][0]["pruned"]
    assert stored["best"] == stored["combinations"][0]["params"]


def test_every_training_of_a_search_is_an_attempt_on_the_test_window(
    searched: tuple[Result, str], small_states: States
):
    """Pruned or not: what the deflated Sharpe ratio counts later."""
    result, parent = searched
    found = children(parent)
    assert len(found) == len(result["rows"])
    assert {run.data.tags["tried"] for run in found} == {"true"}
    with mlflow.start_run():
        test = tuple(result["windows"]["test"])
        counted = known_attempts(paths_before(small_states, test), " ".join(test), set())
    assert {attempt.attempt for attempt in counted} == {row["attempt"]["attempt"] for row in result["rows"]}
    assert len(counted) == len(result["rows"])


def test_the_frontier_has_a_point_for_every_combination(
    searched: tuple[Result, str], split: MarketSplit, base: RunSettings
):
    figure = draw_frontier(searched[0], split, base, 0)
    tried = sum(len(trace.x) for trace in figure.data if trace.name == "tried" and trace.xaxis == "x")
    assert tried == len(searched[0]["combinations"])


def test_a_search_that_was_stopped_ends_as_one_that_was_not(
    searched: tuple[Result, str], search: Callable[[Path], Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Stopped within the fourth training, the second of the second batch."""
    follow, started = trainings.log_update, list[int]()
    start = training.start_training
    monkeypatch.setattr(training, "start_training", lambda *args: (started.append(1), start(*args))[1])

    def stop(update: dict[str, float]) -> None:
        if len(started) == 4:
            raise StoppedError
        follow(update)

    monkeypatch.setattr(trainings, "log_update", stop)
    with mlflow.start_run():
        with pytest.raises(StoppedError):
            search(tmp_path)
        mlflow.end_run("FAILED")
    monkeypatch.setattr(trainings, "log_update", follow)
    assert search(tmp_path) == searched[0]
    assert len(started) == 1 + len(searched[0]["rows"])  # the fourth was begun twice


@pytest.mark.slow
def test_a_search_on_ray_is_that_of_one_process_and_starts_ray_once(
    searched: tuple[Result, str], split: MarketSplit, base: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("ray", reason="needs flag_kedro[ray]")
    join, joined = ray_session._join, list[RuntimeConfig]()
    monkeypatch.setattr(ray_session, "_join", lambda ray, runtime: (joined.append(runtime), join(ray, runtime))[1])
    (tmp_path / "backbone").mkdir()
    write_manifest(tmp_path / "backbone")
    on_ray = replace(base, runtime=replace(base.runtime, engine="ray"))
    result = sweep(split, tmp_path / "backbone", tmp_path / "trunk", tmp_path / "rows", CONFIG, on_ray, 3, None)
    assert result == searched[0]
    assert len(joined) == 1


def test_a_training_in_which_learning_goes_wrong_has_a_row_in_a_search_and_ends_a_grid(
    split: MarketSplit, base: RunSettings
):
    windows = split.windows
    fold = Fold("sweep", windows.train, windows.validation, windows.test)
    states = outside_window(split.states, (fold.test[0].isoformat(), fold.test[1].isoformat()))
    limited = replace(base, ppo=replace(PPO, min_entropy=2.0))  # no policy of three actions has it
    call = partial(validate, states, fold, 3, limited, runs.Shared(), split.state_facts, lambda update: None, floors={})
    row = call(keep_failed=True)
    assert row["seed"] == 3
    assert "ppo.min_entropy asks for 2" in row["failed"]
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    with pytest.raises(DivergedError, match=r"ppo\.min_entropy asks for 2"):
        call()


def test_a_training_below_its_floor_stops_there_and_is_scored(split: MarketSplit, base: RunSettings):
    """At the second validation more is asked for than any policy earns."""
    windows = split.windows
    fold = Fold("sweep", windows.train, windows.validation, windows.test)
    test = fold.test[0].isoformat(), fold.test[1].isoformat()
    states = outside_window(split.states, test)

    def row(floors: dict[int, float]) -> Result:
        return validate(states, fold, 3, base, runs.Shared(), split.state_facts, lambda update: None, floors=floors)

    whole, pruned = row({16: -9.0}), row({32: 9.0})
    assert len(whole["history"]) == 3
    assert PRUNED not in whole["history"][-1]
    assert pruned["history"] == [whole["history"][0], whole["history"][1] | {PRUNED: 1.0}]
    best = max(each["env/validation_log_return"] for each in pruned["history"])
    assert pruned["validation_log_return"] == best
    scored = sum(scores["flag_trader"]["cumulative_return"] for scores in pruned["validation_scores"].values())
    assert scored == pytest.approx(best, abs=1e-6)
    assert pruned["attempt"]["attempt"] == whole["attempt"]["attempt"]
