"""Trials: every distinct policy that was scored on sessions of the same market, as the store remembers them.

Whoever tries often enough finds a good window. The deflated Sharpe ratio needs to know how often that was.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

import polars as pl

from flag_kedro.backtest.trials import ReturnPath, ScoredTrial, ValidatedTrial, paths_before, same_markets
from flag_kedro.names import ALL_SYMBOLS
from flag_kedro.tracking.deadline import within
from flag_kedro.tracking.log import active_run, log_json, store_may_fail

logger = logging.getLogger(__name__)
PREFIX = "trial/"
TRIED = "tried/"
TRIAL, ATTEMPT = "trial.json", "attempt.json"
"""Artifacts of a run, as `dataclasses.asdict` has them."""
NOWHERE = ReturnPath([], [], [])
Recorded = TypeVar("Recorded")


def record_trial(trial: ScoredTrial, window: str) -> None:
    """Log `trial` to the active run, so that later backtests count it, however this run ends.

    Args:
        trial: what was scored.
        window: first and last date of the test window, with a blank between.
    """
    import mlflow

    if active_run() is None:
        return
    flattened = {
        f"{PREFIX}{symbol}/{metric}": value
        for symbol, scores in trial.scores.items()
        for metric, value in scores.items()
    }
    tags = {
        "test_window": window,
        "policy_hash": trial.policy_hash,
        "config_hash": trial.config_hash,
        "attempt": trial.attempt,
        "seed": str(trial.seed),
        "scored": "true",
    }
    log_json(asdict(trial), TRIAL)
    mlflow.set_tags(tags)
    mlflow.log_metrics(flattened)


def known_trials(trial: ScoredTrial, window: str) -> list[ScoredTrial] | None:
    """`trial` and every other that a run of this experiment scored on the same market, however that run ended.

    Windows need not be equal: whoever has seen sessions of this one has tried it (see `trials.is_same_market`).

    Args:
        trial: the one that is scored now.
        window: first and last date of the test window, with a blank between.

    Returns:
        One entry for each configuration and seed, `trial` first, cut to the symbols whose market is the same; None when
        there is no run to ask with (tracking is off) or the store does not answer, which is logged.
    """
    recorded = _recorded("scored", window, lambda run_id: ScoredTrial.from_json(_load(run_id, TRIAL)))
    if recorded is None:
        return None
    trials = {_identity(trial): trial}
    for other in recorded:
        earlier = other.on_markets_of(trial)
        if earlier.scores:
            trials.setdefault(_identity(earlier), earlier)
    return list(trials.values())


def count_trials(trial: ScoredTrial, window: str) -> list[ScoredTrial] | None:
    """`known_trials`, saying in the log how many there are, or that nobody knows."""
    trials = known_trials(trial, window)
    if trials is None:
        logger.warning("no tracking store: trials are not known, so no deflated Sharpe ratio is given")
    else:
        logger.info("%d trial(s) on sessions of this window, this one included", len(trials))
    return trials


def count_validated(
    states: Mapping[str, pl.DataFrame], test: tuple[str, str], trials: Sequence[ScoredTrial] | None
) -> list[ValidatedTrial]:
    """What sweeps tried for the same prices and window and none of `trials` is; none where trials are not known.

    Args:
        states: market states.
        test: first and last date of the test window.
        trials: those that were scored on it.
    """
    if trials is None:
        return []
    tried = known_attempts(paths_before(states, test), " ".join(test), {trial.attempt for trial in trials})
    if tried:
        logger.info("%d more were tried on validation only, by sweeps for this window", len(tried))
    return tried


def _identity(trial: ScoredTrial) -> str:
    """What makes a trial another one: its configuration and seed, however often, fast or where it was trained."""
    return trial.attempt or trial.policy_hash


def record_attempt(attempt: ValidatedTrial, window: str) -> None:
    """Log `attempt` to the active run, so that later backtests on sessions of `window` count it as a trial."""
    import mlflow

    if active_run() is None:
        return
    log_json(asdict(attempt), ATTEMPT)
    mlflow.set_tags({"tried": "true", "test_window": window, "attempt": attempt.attempt})
    mlflow.log_metrics({f"{TRIED}{symbol}": value for symbol, value in attempt.sharpes.items()})


def known_attempts(paths: Mapping[str, ReturnPath], window: str, scored: set[str]) -> list[ValidatedTrial]:
    """Every attempt of a run of this experiment, however it ended, for the same market that is none of `scored`.

    Args:
        paths: of `paths_before` for the window.
        window: its first and last date, with a blank between.
        scored: attempts that were scored on it.

    Returns:
        One entry for each, cut to the symbols whose market before the window is the same; none where the store does
        not answer, which is logged.
    """
    attempts: dict[str, ValidatedTrial] = {}
    for recorded in _recorded("tried", window, lambda run_id: ValidatedTrial.from_json(_load(run_id, ATTEMPT))) or []:
        same = same_markets({**recorded.paths, ALL_SYMBOLS: NOWHERE}, paths)
        sharpes = {symbol: recorded.sharpes[symbol] for symbol in same if symbol in recorded.sharpes}
        if sharpes and recorded.attempt not in scored:
            cut = {symbol: path for symbol, path in recorded.paths.items() if symbol in same}
            attempts.setdefault(recorded.attempt, ValidatedTrial(recorded.attempt, sharpes, cut))
    return list(attempts.values())


def _recorded(tag: str, window: str, load: Callable[[str], Recorded]) -> list[Recorded] | None:
    """What earlier runs of the active one's experiment recorded for windows that overlap; None where nobody knows.

    What cannot be read is counted in the log.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    from flag_kedro.tracking.link import seconds_per_call

    run, runs = mlflow.active_run(), None
    if run is None:
        return None
    with store_may_fail("earlier trials not found, only this one is counted"):
        runs = mlflow.search_runs(
            experiment_ids=[run.info.experiment_id],
            filter_string=f"tags.{tag} = 'true'",
            max_results=50_000,
            output_format="list",
        )
    if runs is None:
        return None
    recorded, unread = [], 0
    for other in runs:
        if other.info.run_id == run.info.run_id or not _overlap(window, other.data.tags["test_window"]):
            continue
        try:
            recorded.append(within(seconds_per_call(), partial(load, other.info.run_id)))
        except TimeoutError:
            logger.warning("earlier trials cannot be read: MLflow's artifacts do not answer")
            return None
        except (MlflowException, OSError, KeyError, TypeError, ValueError):
            unread += 1
    if unread:
        logger.warning(
            "%d earlier run(s) tried this window, but what they recorded cannot be read (an earlier version?): they "
            "are not counted as trials, so the deflated Sharpe ratio is too kind",
            unread,
        )
    return recorded


def _load(run_id: str, name: str) -> dict[str, Any]:
    import mlflow

    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # a bar for each file of some kilobytes
    return dict(mlflow.artifacts.load_dict(f"runs:/{run_id}/{name}"))


def _overlap(one: str, other: str) -> bool:
    """Whether two windows, each first and last ISO date, have a day in common."""
    (first, last), (other_first, other_last) = one.split(), other.split()
    return first <= other_last and other_first <= last
