"""Searches: what is proposed, what is pruned and what an interruption changes; a formula stands in for training."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flag_kedro.env.config import EnvConfig
from flag_kedro.errors import BusyError, DataError, TrainingError
from flag_kedro.experiments.config import SweepConfig
from flag_kedro.experiments.search import Floors, Search, Trial, median_floors, rank_trials, summarise
from flag_kedro.experiments.search_space import open_space
from flag_kedro.experiments.search_storage import JOURNAL, open_study
from flag_kedro.experiments.sweep import FAILED, Combination
from flag_kedro.names import VALIDATION_LOG_RETURN
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.history import PRUNED, STEP

optuna = pytest.importorskip("optuna", reason="the extra `search` is not installed")

BASE = (EnvConfig(), PolicyConfig(), PPOConfig(total_timesteps=100))
RATE, RANK = "ppo.learning_rate", "policy.lora_rank"
BEST_RATE = 1e-3
CONFIG = SweepConfig(
    sampler="tpe", trials=40, ranges={RATE: "1e-5 1e-1 log"}, grid={RANK: "4 8 16"}, prune="median",
    prune_startup_trials=4,
)  # fmt: skip
SEEDS = (1, 2)


class StoppedError(Exception):
    """Stands for a kill."""


def history(score: float, updates: int = 4) -> list[dict[str, float]]:
    """Validation rises to `score` in equal parts."""
    return [{STEP: 10 * at, VALIDATION_LOG_RETURN: score * at / updates - 1.0} for at in range(1, updates + 1)]


def train_row(score: float, seed: int, floors: dict[int, float]) -> dict[str, Any]:
    """The row of a training that earns `score` - 1, or less where a floor stops it before its end."""
    rows: list[dict[str, float]] = []
    for row in history(score):
        rows.append(dict(row))
        floor = floors.get(int(row[STEP]), -math.inf)
        if len(rows) < 4 and row[VALIDATION_LOG_RETURN] < floor:
            rows[-1][PRUNED] = 1.0
            break
    best = max(row[VALIDATION_LOG_RETURN] for row in rows)
    row = {"seed": seed, "validation_log_return": best, "collapsed_to": None, "validation_log_returns": [best]}
    return row | {"history": rows}


class Trainer:
    """Trains by a formula with its best at 1e-3 and rank 8, keeps rows, and stops after `limit` trainings."""

    def __init__(self, rows: dict[str, Any] | None = None, limit: int | None = None) -> None:
        self.rows = {} if rows is None else rows
        self.limit = limit
        self.trained: list[str] = []

    def train(self, title: str, combinations: Sequence[Combination], floors: Floors) -> list[list[Any]]:
        return [[self.row(each, seed, dict(floors.get(seed, {}))) for seed in SEEDS] for each in combinations]

    def row(self, each: Combination, seed: int, floors: dict[int, float]) -> Any:
        name = f"{each.name}-{seed}"
        if name not in self.rows:
            if len(self.trained) == self.limit:
                raise StoppedError
            distance = abs(math.log10(each.ppo.learning_rate / BEST_RATE)) + (each.policy.lora_rank != 8)
            self.rows[name] = train_row(2.0 - distance / 4 + 0.01 * seed, seed, floors)
            self.trained.append(name)
        return self.rows[name]


def search_in(folder: Path, config: SweepConfig = CONFIG, seed: int = 3, url: str | None = None) -> Search:
    return Search(open_space(config, *BASE), config, seed, open_study(folder, "sweep", url))


def points(trials: Sequence[Trial]) -> list[Any]:
    return [(trial.params, trial.value, trial.pruned) for trial in trials]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    """An uninterrupted search."""
    return search_in(tmp_path_factory.mktemp("whole")).run(Trainer().train)


def test_a_planted_optimum_is_found_and_comes_first(whole: list[Trial]):
    best = rank_trials(whole)[0]
    assert best["values"][RANK] == 8
    assert abs(math.log10(best["values"][RATE] / BEST_RATE)) < 0.3
    later = [trial for trial in whole[20:] if trial.params[RANK] == "8"]
    assert len(later) > 10  # the sampler has learned it


def test_numbers_are_read_easily_and_whole_ones_stay_whole(tmp_path: Path):
    config = SweepConfig(sampler="random", trials=9, ranges={RATE: "1e-4 1e-2 log", "ppo.num_steps": "8 64"})
    trials = search_in(tmp_path, config).run(Trainer().train)
    for trial in trials:
        assert trial.params[RATE] == float(f"{trial.params[RATE]:.4g}")
        assert type(trial.combination.ppo.num_steps) is int
        assert 8 <= trial.combination.ppo.num_steps <= 64


@pytest.mark.parametrize("limit", [0, 1, 5, 17, 30])
def test_stopped_and_gone_on_with_it_is_the_search_that_was_never_stopped(
    whole: list[Trial], tmp_path: Path, limit: int
):
    stopped = Trainer(limit=limit)
    with pytest.raises(StoppedError):
        search_in(tmp_path).run(stopped.train)
    again = Trainer(stopped.rows)
    trials = search_in(tmp_path).run(again.train)
    assert points(trials) == points(whole)
    assert not set(again.trained) & set(stopped.trained)
    assert len(search_in(tmp_path).study.get_trials()) == CONFIG.trials


def test_stopped_between_two_trials_of_a_batch_it_goes_on_the_same(
    whole: list[Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The study has six of eight, all eight are trained."""
    first, keep = Trainer(), Search._keep

    def stop(self: Search, trial: Trial, number: int, kept: Any) -> None:
        if number == 6:
            raise StoppedError
        keep(self, trial, number, kept)

    monkeypatch.setattr(Search, "_keep", stop)
    with pytest.raises(StoppedError):
        search_in(tmp_path).run(first.train)
    monkeypatch.undo()
    assert len(search_in(tmp_path).study.get_trials()) == 6
    assert points(search_in(tmp_path).run(Trainer(first.rows).train)) == points(whole)


def test_more_trials_begin_with_the_same_ones(whole: list[Trial], tmp_path: Path):
    few = search_in(tmp_path, replace(CONFIG, trials=10)).run(Trainer().train)
    assert points(few) == points(whole)[:10]


def test_another_seed_or_batch_proposes_something_else(whole: list[Trial], tmp_path: Path):
    other = search_in(tmp_path / "seed", seed=4).run(Trainer().train)
    one = search_in(tmp_path / "batch", replace(CONFIG, batch=1)).run(Trainer().train)
    assert len({str(points(each)) for each in (whole, other, one)}) == 3


def test_a_combination_that_is_proposed_again_is_trained_once(tmp_path: Path):
    config = SweepConfig(sampler="random", trials=6, grid={RANK: "4 8 16", "ppo.gamma": "0.5 0.9"}, batch=3)
    trainer = Trainer()
    search = search_in(tmp_path, config)
    trials = search.run(trainer.train)
    told = summarise(search, trials)
    assert told["num_combinations"] < 6 == told["num_trials"] == len(told["trials"])
    assert len(trainer.trained) == len(set(trainer.trained)) == 2 * told["num_combinations"]
    assert len(search.rows()) == len(trainer.trained)
    assert sorted(number for each in rank_trials(trials) for number in each["trials"]) == list(range(6))


def test_pruned_combinations_come_after_all_that_were_not(whole: list[Trial]):
    ranked = rank_trials(whole)
    pruned = [each["pruned"] for each in ranked]
    assert 5 < sum(pruned) < 35
    assert pruned == sorted(pruned)
    assert all(set(each["pruned_at"]) == {"1", "2"} for each in ranked if each["pruned"])


def test_one_that_was_pruned_is_behind_one_that_earned_less(tmp_path: Path):
    space = open_space(CONFIG, *BASE)
    rows = {
        "4": [train_row(1.0, seed, {}) for seed in SEEDS],
        "8": [train_row(9.0, seed, {10: 9.9}) for seed in SEEDS],
    }
    trials = [Trial({RATE: 0.01, RANK: rank}, space.combination({RATE: 0.01, RANK: rank}), rows[rank]) for rank in rows]
    assert [trial.value for trial in trials] == [0.0, 1.25]
    assert [each["values"][RANK] for each in rank_trials(trials)] == [4, 8]


def test_a_trial_is_pruned_with_half_of_its_seeds():
    stopped, whole = train_row(1.0, 1, {10: 9.0}), train_row(1.0, 2, {})
    combination = open_space(CONFIG, *BASE).combination({RATE: 0.01, RANK: "4"})
    counts = [Trial({}, combination, rows).pruned for rows in ([stopped, whole], [stopped, whole, whole], [whole])]
    assert counts == [True, False, False]


def test_trials_that_fail_are_told_kept_and_never_chosen(tmp_path: Path):
    """Rates above 1e-2 diverge with one of two seeds, and with rank 16 the account is ruined."""

    class Failing(Trainer):
        def row(self, each: Combination, seed: int, floors: dict[int, float]) -> Any:
            row = super().row(each, seed, floors)
            if each.ppo.learning_rate > 1e-2 and seed == 2:
                return {"seed": 2, FAILED: "the gradient is nan", "history": history(9.0)}
            return row | {"validation_log_return": -math.inf} if each.policy.lora_rank == 16 else row

    search = search_in(tmp_path)
    trials = search.run(Failing().train)
    diverged = [trial for trial in trials if trial.combination.ppo.learning_rate > 1e-2]
    ruined = [trial for trial in trials if trial.combination.policy.lora_rank == 16 and trial not in diverged]
    assert diverged
    assert ruined
    assert all(trial.failures["2"] == "the gradient is nan" for trial in diverged)
    assert all(set(trial.failures.values()) == {"the account was ruined on validation"} for trial in ruined)
    told, states = summarise(search, trials), [trial.state.name for trial in search.study.get_trials()]
    assert told["num_failed"] == states.count("FAIL") == len(diverged) + len(ruined)
    assert [each["value"] is None for each in told["trials"]] == [state == "FAIL" for state in states]
    chosen = [number for each in rank_trials(trials) for number in each["trials"]]
    assert sorted(chosen) == [number for number, state in enumerate(states) if state != "FAIL"]
    assert all(math.isfinite(floor) and floor < 2.0 for floors in search.floors().values() for floor in floors.values())
    assert all(math.isfinite(row["validation_log_return"]) for row in search.rows())
    again = search_in(tmp_path).run(Failing().train)
    assert points(again) == points(trials)


def test_where_all_trials_fail_the_first_one_is_named():
    combination = open_space(CONFIG, *BASE).combination({RATE: 0.01, RANK: "4"})
    failed = Trial({}, combination, [{"seed": 2, FAILED: "the gradient is nan", "history": []}])
    with pytest.raises(TrainingError, match=r"all 2 trials failed, .*rank=4.*, seed 2: the gradient is nan"):
        rank_trials([failed, failed])


def test_the_first_batch_is_never_pruned(whole: list[Trial]):
    assert not any(trial.pruned for trial in whole[: CONFIG.batch])


CURVES = st.lists(st.lists(st.floats(-1, 1), min_size=1, max_size=4), min_size=1, max_size=7)


@settings(max_examples=60, deadline=None)
@given(
    earlier=CURVES, mine=st.lists(st.floats(-1, 1), min_size=1, max_size=4), startup=st.integers(1, 4),
    warmup=st.sampled_from([0, 15]),
)  # fmt: skip
def test_floors_decide_as_the_median_pruner_of_optuna(
    earlier: list[list[float]], mine: list[float], startup: int, warmup: int
):
    config = replace(CONFIG, prune_startup_trials=startup, prune_warmup=warmup)

    def rows(scores: list[float]) -> list[dict[str, float]]:
        return [{STEP: 10 * at, VALIDATION_LOG_RETURN: score} for at, score in enumerate(scores, 1)]

    def bests(scores: list[float]) -> dict[int, float]:
        return {10 * at: max(scores[:at]) for at in range(1, len(scores) + 1)}

    study = optuna.create_study(direction="maximize")
    for scores in earlier:
        study.add_trial(optuna.trial.create_trial(value=max(scores), intermediate_values=bests(scores)))
    running = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, intermediate_values=bests(mine))
    expected = optuna.pruners.MedianPruner(startup, warmup).prune(study, running)
    floors = median_floors([rows(scores) for scores in earlier], config)
    assert (max(mine) < floors.get(10 * len(mine), -math.inf)) == expected


def test_trials_in_a_database_are_those_of_the_journal(whole: list[Trial], tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    stopped = Trainer(limit=21)
    with pytest.raises(StoppedError):
        search_in(tmp_path, url=url).run(stopped.train)
    assert points(search_in(tmp_path, url=url).run(Trainer(stopped.rows).train)) == points(whole)
    assert not (tmp_path / JOURNAL).exists()


def test_a_second_search_on_the_same_study_is_refused(tmp_path: Path):
    search = search_in(tmp_path)

    def train(*args: Any) -> Any:
        search_in(tmp_path).study.add_trial(optuna.trial.create_trial(value=0.0))
        return Trainer().train(*args)

    with pytest.raises(BusyError, match="another search is adding trials to study sweep"):
        search.run(train)


def test_a_study_of_other_results_is_refused(tmp_path: Path):
    search_in(tmp_path).run(Trainer().train)
    other: Callable[..., Any] = lambda title, found, floors: [[train_row(0.5, s, {}) for s in SEEDS] for _ in found]  # noqa: E731
    with pytest.raises(DataError, match="trial 0, and its rows say"):
        search_in(tmp_path).run(other)


def test_importances_name_what_matters(whole: list[Trial], tmp_path: Path):
    told = summarise(search_in(tmp_path), whole)
    assert set(told["importances"]) == {RATE, RANK}
    assert sum(told["importances"].values()) == pytest.approx(1.0)
    assert told["num_pruned"] == sum(trial.pruned for trial in whole) > 0
