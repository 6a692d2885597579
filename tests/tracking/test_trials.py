"""Which earlier runs count as trials of the same data and window."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest

from flag_kedro.backtest.trials import ScoredTrial, ValidatedTrial
from flag_kedro.tracking.trials import (
    count_trials,
    known_attempts,
    known_trials,
    record_attempt,
    record_trial,
)


@pytest.fixture(autouse=True)
def store(empty_store: Path, tmp_path: Path):
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{shutil.copy(empty_store, tmp_path)}")
    yield
    mlflow.set_tracking_uri(before)


def _trial(policy: str, config: str = "c", seed: int = 0, sharpe: float = 0.1, prices: str = "h") -> ScoredTrial:
    scores = {"ALDR": {"session_sharpe": sharpe, "cumulative_return": 2 * sharpe}}
    return ScoredTrial(policy, config, seed, scores, {"ALDR": prices})


def test_the_same_configuration_and_seed_is_one_trial_however_it_was_trained(score: Callable[..., None]):
    """Another cache or another machine's last bits make another bundle, not another try."""
    for policy in ("p1", "p2"):
        score(replace(_trial(policy), attempt="a"))
    assert _known(replace(_trial("p3"), attempt="a")) == [replace(_trial("p3"), attempt="a")]
    known = _known(replace(_trial("p4"), attempt="b"))
    assert known is not None
    assert [trial.attempt for trial in known] == ["b", "a"]


@pytest.fixture
def score() -> Callable[..., None]:
    """A run that scored a trial and ended as told."""

    def run(trial: ScoredTrial, window: str = "w", status: str = "FINISHED") -> None:
        mlflow.start_run()
        record_trial(trial, window)
        mlflow.end_run(status)

    return run


def _known(trial: ScoredTrial, window: str = "w") -> list[ScoredTrial] | None:
    with mlflow.start_run():
        return known_trials(trial, window)


def test_first_trial_knows_itself_alone():
    assert _known(_trial("p1")) == [_trial("p1")]


def test_finished_trials_of_the_same_data_and_window_come_back_as_they_were_recorded(score: Callable[..., None]):
    score(_trial("p2", config="other", seed=7, sharpe=-0.25))
    assert _known(_trial("p1")) == [_trial("p1"), _trial("p2", config="other", seed=7, sharpe=-0.25)]


def test_scoring_the_same_policy_again_is_no_new_trial(score: Callable[..., None]):
    for _ in range(3):
        score(_trial("p1"))
        score(_trial("p2"))
    found = _known(_trial("p1"))
    assert found is not None
    assert [trial.policy_hash for trial in found] == ["p1", "p2"]


@pytest.mark.parametrize("other", [{"window": "v"}, {"status": "FAILED"}, {"status": "KILLED"}])
def test_other_windows_and_unfinished_runs_do_not_count(other: dict[str, str], score: Callable[..., None]):
    score(_trial("p2"), **other)
    assert _known(_trial("p1")) == [_trial("p1")]


def test_only_symbols_with_the_same_prices_count(score: Callable[..., None]):
    score(_trial("p2", prices="other"))
    both = ScoredTrial("p3", "c", 0, {s: {"session_sharpe": 0.5} for s in ("ALDR", "BRIX")}, {"ALDR": "h", "BRIX": "b"})
    score(both)
    found = _known(_trial("p1"))
    assert found is not None
    assert [(trial.policy_hash, list(trial.scores)) for trial in found] == [("p1", ["ALDR"]), ("p3", ["ALDR"])]


def test_trial_whose_scores_the_store_refuses_is_not_counted(
    score: Callable[..., None], caplog: pytest.LogCaptureFixture
):
    score(ScoredTrial("p2", "c", 0, {"^GSPC": {"session_sharpe": 0.5}}, {"^GSPC": "h"}))
    assert "will not count this trial" in caplog.text
    assert _known(_trial("p1")) == [_trial("p1")]


def test_without_tracking_nothing_is_known():
    record_trial(_trial("p1"), "w")
    assert known_trials(_trial("p1"), "w") is None
    assert mlflow.search_runs(output_format="list") == []


def _attempt(name: str, before: str = "b", sharpe: float = 0.2) -> ValidatedTrial:
    return ValidatedTrial(name, {"ALDR": sharpe}, {"ALDR": before})


def _known_attempts(scored: set[str], window: str = "w") -> list[ValidatedTrial]:
    with mlflow.start_run():
        return known_attempts({"ALDR": "b"}, window, scored)


def test_attempts_of_the_same_window_and_earlier_prices_are_known_until_they_are_scored():
    for attempt, window, status in (
        (_attempt("a1"), "w", "FINISHED"),
        (_attempt("a1"), "w", "FINISHED"),
        (_attempt("a2", sharpe=0.4), "w", "FINISHED"),
        (_attempt("a3", before="other"), "w", "FINISHED"),
        (_attempt("a4"), "v", "FINISHED"),
        (_attempt("a5"), "w", "FAILED"),
    ):
        mlflow.start_run()
        record_attempt(attempt, window)
        mlflow.end_run(status)
    assert sorted(_known_attempts(set()), key=lambda each: each.attempt) == [_attempt("a1"), _attempt("a2", sharpe=0.4)]
    assert _known_attempts({"a1"}) == [_attempt("a2", sharpe=0.4)]
    assert _known(_trial("p1")) == [_trial("p1")]  # an attempt is no scored trial


def test_a_trial_remembers_its_attempt(score: Callable[..., None]):
    score(replace(_trial("p2"), attempt="a2"))
    found = _known(_trial("p1"))
    assert found is not None
    assert [trial.attempt for trial in found] == ["", "a2"]


def test_without_a_store_nobody_knows_how_many_trials_there_were(caplog: pytest.LogCaptureFixture) -> None:
    assert count_trials(ScoredTrial("p", "c", 0, {}, {}), "window") is None
    assert "trials are not known" in caplog.text
