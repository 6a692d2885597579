"""The nodes of walk_forward, seeds and sweep, in process, on a market of two symbols and 63 sessions."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
import pytest

from flag_kedro.backtest.config import BacktestConfig
from flag_kedro.backtest.trials import ScoredTrial
from flag_kedro.data.config import DataConfig, WindowsConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.errors import DataError, ParameterError
from flag_kedro.experiments import runs, training
from flag_kedro.experiments.config import SweepConfig, WalkForwardConfig
from flag_kedro.experiments.fan_out import Task
from flag_kedro.experiments.finished import remove_rows
from flag_kedro.experiments.folds import Fold
from flag_kedro.experiments.scoring import RunSettings
from flag_kedro.experiments.sweep import RankedCombination
from flag_kedro.pipelines import trainings
from flag_kedro.pipelines.shared import choose_training_settings
from flag_kedro.pipelines.sweep.nodes import draw_frontier, sweep
from flag_kedro.pipelines.training.seeds import run_seeds
from flag_kedro.pipelines.walk_forward.nodes import draw_walk_forward, walk_forward
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.manifest import folder_hash, write_manifest
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.tracking.trials import count_validated, known_trials

States = dict[str, pl.DataFrame]
Result = dict[str, Any]
PPO = PPOConfig(
    total_timesteps=32, num_envs=1, num_steps=8, minibatch_size=None, validation_interval=1, kl_coef=0.0,
    learning_rate=5e-4, gamma=0.95, gae_lambda=0.98, update_epochs=1, clip_vloss=True, ent_coef=0.05,
    gradient_accumulation_steps=8, stagger_starts=False, reward_scale=1.0,
)  # fmt: skip
FOLDS = WalkForwardConfig(train_sessions=20, validation_sessions=10, test_sessions=12)
ENV, POLICY, RUNTIME = EnvConfig(), PolicyConfig(), RuntimeConfig(device="cpu", threads=1)


pytestmark = pytest.mark.usefixtures("tracking_store")


class StoppedError(Exception):
    """What a signal raises in a run."""


@pytest.fixture(scope="module")
def nothing_shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbone")
    write_manifest(folder)
    return folder


def settings_of(split: MarketSplit, ppo: PPOConfig = PPO) -> RunSettings:
    return choose_training_settings(split, POLICY, ppo, RUNTIME)


@pytest.fixture(scope="module")
def roll(small_states: States, data: DataConfig, nothing_shared: Path) -> Callable[..., Result]:
    def run(folder: Path, seeds: str = "1 2", states: States = small_states, ppo: PPOConfig = PPO) -> Result:
        split = MarketSplit(states, data, ENV)
        return walk_forward(
            split, nothing_shared, folder / "trunk", folder / "rows", FOLDS, settings_of(split, ppo),
            BacktestConfig(bootstrap_draws=200), 0, seeds,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def rolled(roll: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, str, Path]:
    """An uninterrupted walk-forward, its MLflow run and its folder."""
    folder = tmp_path_factory.mktemp("rolled")
    with mlflow.start_run() as parent:
        return roll(folder), parent.info.run_id, folder


def children(parent: str) -> list[mlflow.entities.Run]:
    """The oldest first."""
    query = f"tags.`mlflow.parentRunId` = '{parent}'"
    return mlflow.search_runs(["0"], query, order_by=["attributes.start_time ASC"], output_format="list")


def own(row: Result) -> Result:
    return {name: value for name, value in row.items() if name != "trial"}


def test_every_fold_and_seed_is_a_run_below_the_commands(rolled: tuple[Result, str, Path]):
    result, parent, _ = rolled
    found = children(parent)
    assert [run.info.run_name for run in found] == [f"fold {fold} seed {seed}" for fold in (1, 2) for seed in (1, 2)]
    assert {run.info.status for run in found} == {"FINISHED"}
    params = found[2].data.params
    windows = result["rows"][2]["windows"]
    assert params == {"fold": "2", "seed": "1"} | {name: " ".join(dates) for name, dates in windows.items()}
    store = mlflow.MlflowClient()
    curve = store.get_metric_history(found[2].info.run_id, "ppo/loss")
    assert [(point.step, point.value) for point in curve] == [
        (row["step"], row["ppo/loss"]) for row in result["rows"][2]["history"]
    ]
    scored = found[2].data.metrics["backtest/ALDR/buy_and_hold/cumulative_return"]
    assert scored == result["rows"][2]["scores"]["ALDR"]["buy_and_hold"]["cumulative_return"]
    summary = mlflow.get_run(parent).data.metrics
    path = result["summary"]["all"]["strategies"]["flag_trader"]
    assert summary["walk_forward/all/flag_trader/cumulative_return"] == path["cumulative_return"]
    assert not any(name.startswith("ppo/") for name in summary)


def test_results_are_json_and_the_plot_is_of_them(rolled: tuple[Result, str, Path]):
    result, _, _ = rolled
    stored = json.loads(json.dumps(result, allow_nan=False))
    assert [(row["fold"], row["seed"]) for row in stored["rows"]] == [("1", 1), ("1", 2), ("2", 1), ("2", 2)]
    assert stored["summary"]["all"]["num_returns"] == 2 * 11
    assert "2 fold(s), seed(s) 1 2" in draw_walk_forward(stored).layout.title.text


def test_stopped_in_the_third_training_it_goes_on_there(
    rolled: tuple[Result, str, Path], roll: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Two rows are done and one update of the third; nothing of it is trained again, and the results are the same."""
    trained: list[float] = []
    follow = trainings.log_update

    def stop_at_fifth(update: dict[str, float]) -> None:
        trained.append(update["step"])
        if len(trained) == 5:
            raise StoppedError
        follow(update)

    monkeypatch.setattr(trainings, "log_update", stop_at_fifth)
    with mlflow.start_run() as stopped:
        with pytest.raises(StoppedError):
            roll(tmp_path)
        mlflow.end_run("FAILED")
    assert [run.info.status for run in children(stopped.info.run_id)] == ["FINISHED", "FINISHED", "FAILED"]
    (folder,) = (tmp_path / "rows").iterdir()
    assert sorted(path.name for path in folder.glob("*.json")) == ["1-1.json", "1-2.json"]
    assert len(list(folder.glob("checkpoints/2-1/*/update-*"))) == 1

    started: list[int] = []
    start = training.start_training
    monkeypatch.setattr(training, "start_training", lambda *args: (started.append(args[0].seed), start(*args))[1])
    with mlflow.start_run() as again:
        assert roll(tmp_path) == rolled[0]
    assert started == [1, 2]  # the seeds of fold 2
    found = children(again.info.run_id)
    assert [run.data.tags.get("trained") for run in found] == ["earlier", "earlier", None, None]
    whole = [run.data.metrics for run in children(rolled[1])]
    plain = [{name: value for name, value in metrics.items() if "second" not in name} for metrics in whole]
    assert [{n: v for n, v in run.data.metrics.items() if "second" not in n} for run in found] == plain
    assert not list(folder.glob("checkpoints/*"))
    remove_rows(tmp_path / "rows", rolled[0]["key"])
    assert not folder.exists()


def test_rows_wait_for_another_seed_but_not_for_other_parameters(
    rolled: tuple[Result, str, Path], roll: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
):
    started: list[int] = []
    start = training.start_training
    monkeypatch.setattr(training, "start_training", lambda *args: (started.append(args[0].seed), start(*args))[1])
    more = roll(rolled[2], seeds="2 3")
    assert started == [3, 3]
    assert own(more["rows"][0]) == own(rolled[0]["rows"][1])
    assert roll(rolled[2], seeds="1", ppo=replace(PPO, gamma=0.1))["key"] != rolled[0]["key"]
    assert started == [3, 3, 1, 1]


@pytest.fixture(scope="module")
def trained(small_states: States, data: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A bundle as train_policy makes it with seed 4, and its row."""
    folder = tmp_path_factory.mktemp("bundle")
    split = MarketSplit(small_states, data, ENV)
    assert data.windows is not None
    assert data.windows.train is not None
    assert data.windows.test is not None
    fold = Fold("run", data.windows.train, data.windows.validation, data.windows.test)
    run = runs.run_fold(
        small_states, fold, 4, settings_of(split), runs.Shared(), facts=split.state_facts, bundle=folder
    )
    return folder, asdict(run)


def seeds_of(trained: tuple[Path, Result], states: States, data: DataConfig, folder: Path, seeds: Any) -> Result:
    bundle, row = trained
    split = MarketSplit(states, data, ENV)
    return run_seeds(
        split, bundle / "backbone", bundle, row["history"], folder / "trunk", folder / "rows", settings_of(split), seeds
    )


def test_first_seed_is_only_scored_and_all_are_trials_of_one_configuration(
    trained: tuple[Path, Result], small_states: States, data: DataConfig, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    started: list[int] = []
    start = training.start_training
    monkeypatch.setattr(training, "start_training", lambda *args: (started.append(args[0].seed), start(*args))[1])
    with mlflow.start_run() as parent:
        result = seeds_of(trained, small_states, data, tmp_path, "4 5")
        first, second = (ScoredTrial.from_json(row["trial"]) for row in result["rows"])
        trials = known_trials(first, " ".join(result["rows"][0]["windows"]["test"]))
    assert started == [5]
    assert own(result["rows"][0]) == trained[1]
    assert first.policy_hash == folder_hash(trained[0])
    assert (first.config_hash, first.seed, second.seed) == (second.config_hash, 4, 5)
    assert trials is not None
    assert {first.policy_hash, second.policy_hash} <= {trial.policy_hash for trial in trials}
    assert [run.info.run_name for run in children(parent.info.run_id)] == ["train seed 4", "train seed 5"]
    earned = [row["scores"]["ALDR"]["flag_trader"]["cumulative_return"] for row in result["rows"]]
    found = result["summary"]["ALDR"]["flag_trader"]["cumulative_return"]
    assert (found["min"], found["max"], found["num"]) == (min(earned), max(earned), 2)
    assert found["median"] == pytest.approx(sum(earned) / 2)


def test_without_seeds_nothing_is_done(trained: tuple[Path, Result], small_states: States, data: DataConfig):
    assert seeds_of(trained, small_states, data, Path("nowhere"), None) == {}
    assert not Path("nowhere").exists()


def test_a_policy_of_other_parameters_is_not_taken_for_the_first(
    trained: tuple[Path, Result], small_states: States, data: DataConfig, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    monkeypatch.setitem(globals(), "POLICY", replace(POLICY, lora_rank=3))
    with pytest.raises(DataError, match="policy: trained on"):
        seeds_of(trained, small_states, data, tmp_path, "4 5")


def test_a_policy_of_another_seed_is_not_taken_for_the_first(
    trained: tuple[Path, Result], small_states: States, data: DataConfig, tmp_path: Path
):
    with pytest.raises(DataError, match="seed: trained on 4, found 5"):
        seeds_of(trained, small_states, data, tmp_path, "5 4")


def unreadable(states: States, data: DataConfig) -> States:
    """The dates of the test window are left, and nothing else of it."""
    assert data.windows is not None
    assert data.windows.test is not None
    seen = ~pl.col("session").is_between(*data.windows.test)
    names = [name for name in next(iter(states.values())).columns if name not in ("symbol", "session")]
    blank = [pl.when(seen).then(pl.col(name)).alias(name) for name in names]
    return {symbol: table.with_columns(blank) for symbol, table in states.items()}


def test_sweep_does_without_the_test_window_and_is_counted_for_it(
    small_states: States, data: DataConfig, nothing_shared: Path, trained: tuple[Path, Result], tmp_path: Path
):
    config = SweepConfig(grid={"ppo.learning_rate": [5e-4, 5e-3]})
    assert PPO.learning_rate == 5e-4
    with mlflow.start_run() as parent:
        split = MarketSplit(unreadable(small_states, data), data, ENV)
        result = sweep(
            split, nothing_shared, tmp_path / "trunk", tmp_path / "rows", config, settings_of(split), 0, "4 5"
        )
    assert [run.info.status for run in children(parent.info.run_id)] == ["FINISHED"] * 4
    assert result["rows"][0]["history"] == trained[1]["history"]
    best = result["combinations"][0]
    medians = [row["validation_log_return"]["median"] for row in result["combinations"]]
    assert medians == sorted(medians, reverse=True)
    assert list(result) == ["key", "seeds", "windows", "best", "combinations", "rows"]  # nothing of a search
    assert list(best) == [field.name for field in fields(RankedCombination)]
    assert result["best"] == best["params"] in ("ppo.learning_rate=0.0005", "ppo.learning_rate=0.005")
    figure = draw_frontier(result, split, settings_of(split), 0)
    assert {trace.name for trace in figure.data} >= {"the run's own parameters", "buy_and_hold", "not dominated"}
    test = tuple(result["windows"]["test"])
    with mlflow.start_run():
        scored = ScoredTrial.from_json(seeds_of(trained, small_states, data, tmp_path, "4")["rows"][0]["trial"])
        found = count_validated(small_states, test, [scored])
        everything = count_validated(small_states, test, [replace(scored, attempt="")])
    assert len(everything) == 4
    assert len(found) == 3  # the one that was scored since is counted as a scored trial
    rescaled = {symbol: table.with_columns(pl.col("mark_price") * 2) for symbol, table in small_states.items()}
    inverse = 1 / pl.col("mark_price")
    inverted = {symbol: table.with_columns(mark_price=inverse) for symbol, table in small_states.items()}
    with mlflow.start_run():
        assert len(count_validated(rescaled, test, [scored])) == 3  # another scale is the same market
        assert count_validated(inverted, test, [scored]) == []


def test_sweep_needs_a_grid_and_a_validation_window(
    small_states: States, data: DataConfig, nothing_shared: Path, tmp_path: Path
):
    def run(config: SweepConfig, data: DataConfig) -> Result:
        split = MarketSplit(small_states, data, ENV)
        return sweep(split, nothing_shared, tmp_path, tmp_path, config, settings_of(split), 0, None)

    with pytest.raises(ParameterError, match=r"sweep\.grid is empty: name what to try"):
        run(SweepConfig(), data)
    assert data.windows is not None
    without = DataConfig(
        source="investorbench", path="x", windows=WindowsConfig(train=data.windows.train, test=data.windows.test)
    )
    with pytest.raises(ParameterError, match=r"there is none; set data\.windows\.validation"):
        run(SweepConfig(grid={"ppo.gamma": [0.5]}), without)


@pytest.fixture
def backwards(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """An engine that does the last task first; the names of tasks of each call."""
    calls: list[list[str]] = []

    def fan_out(tasks: Sequence[Task], runtime: RuntimeConfig, on_wait: Callable[[], None]) -> Iterator[Any]:
        assert runtime.engine == "ray"
        calls.append([task.name for task in tasks])
        for index in reversed(range(len(tasks))):
            on_wait()
            yield index, tasks[index].work()

    monkeypatch.setattr("flag_kedro.experiments.fan_out.fan_out", fan_out)
    monkeypatch.setitem(globals(), "RUNTIME", replace(RUNTIME, engine="ray"))
    return calls


def test_the_order_in_which_trainings_end_changes_no_result_and_no_row(
    rolled: tuple[Result, str, Path], roll: Callable[..., Result], backwards: list[list[str]], tmp_path: Path
):
    with mlflow.start_run() as parent:
        assert roll(tmp_path) == rolled[0]
    assert backwards == [["fold 1 seed 1", "fold 1 seed 2", "fold 2 seed 1", "fold 2 seed 2"]]
    for path in (rolled[2] / "rows" / rolled[0]["key"]).glob("*.json"):
        if path.stem in {"1-1", "1-2", "2-1", "2-2"}:
            assert (tmp_path / "rows" / rolled[0]["key"] / path.name).read_bytes() == path.read_bytes()
    found = {run.info.run_name: run.data.metrics for run in children(parent.info.run_id)}
    assert sorted(found) == backwards[0]
    loss = {run.info.run_name: run.data.metrics["ppo/loss"] for run in children(rolled[1])}
    assert {name: metrics["ppo/loss"] for name, metrics in found.items()} == loss
    with mlflow.start_run():
        assert roll(tmp_path) == rolled[0]
    assert backwards[1] == []


def test_the_policy_that_was_trained_is_scored_here_and_its_further_seeds_elsewhere(
    trained: tuple[Path, Result], small_states: States, data: DataConfig, backwards: list[list[str]], tmp_path: Path
):
    with mlflow.start_run():
        result = seeds_of(trained, small_states, data, tmp_path, "4 5 6")
    assert backwards == [["train seed 5", "train seed 6"]]
    assert [row["seed"] for row in result["rows"]] == [4, 5, 6]
    assert own(result["rows"][0]) == trained[1]
