"""Which earlier runs count as trials of the same data and window."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import mlflow
import numpy as np
import pytest

from flag_kedro.backtest.trials import ReturnPath, ScoredTrial, ValidatedTrial
from flag_kedro.tracking.names import escape_name
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


DAYS = [(date(2024, 1, 1) + timedelta(days=t)).isoformat() for t in range(60)]
WINDOW = f"{DAYS[0]} {DAYS[-1]}"
RETURNS = np.random.default_rng(0).normal(0, 0.01, 60).tolist()


def _path(first: int = 0, last: int = 60, market: list[float] = RETURNS) -> ReturnPath:
    return ReturnPath(DAYS[first:last], market[first:last], [0.5 * value for value in market[first:last]])


def _trial(
    policy: str,
    config: str = "c",
    seed: int = 0,
    sharpe: float = 0.1,
    path: ReturnPath | None = None,
    symbol: str = "ALDR",
) -> ScoredTrial:
    path = path or _path()
    scores = {symbol: {"session_sharpe": sharpe, "cumulative_return": 2 * sharpe}}
    return ScoredTrial(policy, config, seed, scores, {symbol: path})


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

    def run(trial: ScoredTrial, window: str = WINDOW, status: str = "FINISHED") -> None:
        mlflow.start_run()
        record_trial(trial, window)
        mlflow.end_run(status)

    return run


def _known(trial: ScoredTrial, window: str = WINDOW) -> list[ScoredTrial] | None:
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


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED", "RUNNING"])
def test_whoever_has_looked_has_tried_however_the_run_ended(status: str, score: Callable[..., None]):
    score(_trial("p2"), status=status)
    assert _known(_trial("p1")) == [_trial("p1"), _trial("p2")]


def test_a_window_a_day_shorter_or_half_a_year_on_is_the_same_market(score: Callable[..., None]):
    shorter, later = _path(0, 59), _path(40, 60)
    score(_trial("p2", path=shorter), window=f"{DAYS[0]} {DAYS[58]}")
    score(_trial("p3", path=later), window=f"{DAYS[40]} {DAYS[59]}")
    known = _known(_trial("p1"))
    assert known is not None
    assert [trial.policy_hash for trial in known] == ["p1", "p3", "p2"]


def test_another_window_or_another_market_is_no_trial(score: Callable[..., None]):
    score(_trial("p2"), window="2023-01-01 2023-12-31")
    score(_trial("p3", path=_path(market=[-value for value in RETURNS])))
    score(_trial("p4", symbol="BRIX"))
    assert _known(_trial("p1")) == [_trial("p1")]


def test_a_rebased_price_is_the_same_market(score: Callable[..., None]):
    """Returns do not know the scale of prices; a source's rounding and one dividend told later are no new market."""
    other = [value + 1e-6 for value in RETURNS]
    other[30] += 0.02
    score(_trial("p2", path=_path(market=other)))
    known = _known(_trial("p1"))
    assert known is not None
    assert [trial.policy_hash for trial in known] == ["p1", "p2"]


def test_only_symbols_with_the_same_market_count(score: Callable[..., None]):
    paths = {"ALDR": _path(), "BRIX": _path()}
    score(ScoredTrial("p3", "c", 0, {symbol: {"session_sharpe": 0.5} for symbol in paths}, paths))
    known = _known(_trial("p1"))
    assert known is not None
    assert [(trial.policy_hash, list(trial.scores)) for trial in known] == [("p1", ["ALDR"]), ("p3", ["ALDR"])]


@pytest.mark.parametrize("symbol", ["^GSPC", "EURUSD=X", "GC=F", "M&M.NS"])
def test_trials_of_symbols_that_mlflow_would_refuse_are_shown_and_count(score: Callable[..., None], symbol: str):
    score(_trial("p2", symbol=symbol))
    (run,) = mlflow.search_runs(output_format="list")
    assert run.data.metrics[escape_name(f"trial/{symbol}/session_sharpe")] == 0.1
    known = _known(_trial("p1", symbol=symbol))
    assert known is not None
    assert [trial.policy_hash for trial in known] == ["p1", "p2"]


def test_trial_that_cannot_be_read_is_told(score: Callable[..., None], caplog: pytest.LogCaptureFixture):
    mlflow.start_run()
    mlflow.set_tags({"scored": "true", "test_window": WINDOW})  # as an earlier version did
    mlflow.end_run()
    assert _known(_trial("p1")) == [_trial("p1")]
    assert "1 earlier run(s) tried this window, but what they recorded cannot be read" in caplog.text


def test_without_tracking_nothing_is_known():
    record_trial(_trial("p1"), WINDOW)
    assert known_trials(_trial("p1"), WINDOW) is None
    assert mlflow.search_runs(output_format="list") == []


OTHER = _path(market=RETURNS[::-1])


def _attempt(name: str, before: ReturnPath | None = None, sharpe: float = 0.2) -> ValidatedTrial:
    return ValidatedTrial(name, {"ALDR": sharpe, "all": sharpe}, {"ALDR": before or _path()})


def _known_attempts(scored: set[str], window: str = WINDOW) -> list[ValidatedTrial]:
    with mlflow.start_run():
        return known_attempts({"ALDR": _path()}, window, scored)


def test_attempts_for_the_same_market_are_known_until_they_are_scored_however_their_runs_ended():
    shorter = f"{DAYS[0]} {DAYS[58]}"
    for attempt, window, status in (
        (_attempt("a1"), WINDOW, "FINISHED"),
        (_attempt("a1"), WINDOW, "FINISHED"),
        (_attempt("a2", sharpe=0.4), WINDOW, "KILLED"),
        (_attempt("a3", before=OTHER), WINDOW, "FINISHED"),
        (_attempt("a4"), "2023-01-01 2023-12-31", "FINISHED"),
        (_attempt("a5", before=_path(0, 59)), shorter, "FAILED"),
    ):
        mlflow.start_run()
        record_attempt(attempt, window)
        mlflow.end_run(status)
    known = sorted(_known_attempts(set()), key=lambda each: each.attempt)
    assert known == [_attempt("a1"), _attempt("a2", sharpe=0.4), _attempt("a5", before=_path(0, 59))]
    assert [each.attempt for each in _known_attempts({"a1", "a5"})] == ["a2"]
    assert _known(_trial("p1")) == [_trial("p1")]  # an attempt is no scored trial


def test_the_account_of_all_symbols_counts_whoever_has_seen_one_of_them(score: Callable[..., None]):
    """Its own returns depend on which symbols it holds and since when."""
    scores = {"session_sharpe": 0.5}

    def trial(policy: str, **paths: ReturnPath) -> ScoredTrial:
        return ScoredTrial(policy, "c", 0, dict.fromkeys(paths, scores), paths)

    later = _path(1, 60)
    score(trial("p2", ALDR=_path(), all=OTHER))
    score(trial("p3", ALDR=later, BRIX=OTHER, all=later), window=f"{DAYS[1]} {DAYS[59]}")
    score(trial("p4", CORV=_path(), all=_path()))
    known = _known(trial("p1", ALDR=_path(), BRIX=_path(), all=_path()))
    assert known is not None
    seen = {each.policy_hash: list(each.scores) for each in known}
    assert seen == {"p1": ["ALDR", "BRIX", "all"], "p2": ["ALDR", "all"], "p3": ["ALDR", "all"]}


def test_a_trial_remembers_its_attempt(score: Callable[..., None]):
    score(replace(_trial("p2"), attempt="a2"))
    found = _known(_trial("p1"))
    assert found is not None
    assert [trial.attempt for trial in found] == ["", "a2"]


def test_without_a_store_nobody_knows_how_many_trials_there_were(caplog: pytest.LogCaptureFixture) -> None:
    assert count_trials(ScoredTrial("p", "c", 0, {}, {}), "window") is None
    assert "trials are not known" in caplog.text
