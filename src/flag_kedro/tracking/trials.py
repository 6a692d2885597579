"""Trials: every distinct policy that was scored on the same data and window, as the store remembers them.

Whoever tries often enough finds a good window. The deflated Sharpe ratio needs to know how often that was.
"""

import logging
from collections.abc import Mapping, Sequence

import polars as pl

from flag_kedro.backtest.trials import ScoredTrial, ValidatedTrial, hashes_before
from flag_kedro.tracking.log import active_run, store_may_fail

logger = logging.getLogger(__name__)
PREFIX, PRICES = "trial/", "prices."
TRIED, BEFORE = "tried/", "before."


def record_trial(trial: ScoredTrial, window: str) -> None:
    """Log `trial` to the active run, so that later backtests count it."""
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
        **{f"{PRICES}{symbol}": price_hash for symbol, price_hash in trial.price_hashes.items()},
    }
    with store_may_fail("later backtests will not count this trial"):
        mlflow.log_metrics(flattened)
        mlflow.set_tags(tags)


def known_trials(trial: ScoredTrial, window: str) -> list[ScoredTrial] | None:
    """`trial` and every other that a finished run of this experiment scored on the same prices and window.

    Returns:
        One entry for each policy, `trial` first, cut to the symbols whose prices are the same; None when there is
        no run to ask with (tracking is off) or the store does not answer, which is logged.
    """
    import mlflow

    run = mlflow.active_run()
    if run is None:
        return None
    runs = None
    with store_may_fail("earlier trials not found, only this one is counted"):
        runs = mlflow.search_runs(
            experiment_ids=[run.info.experiment_id],
            filter_string=(
                f"attributes.status = 'FINISHED' and tags.scored = 'true' and tags.test_window = '{window}'"
            ),
            max_results=50_000,
            output_format="list",
        )
    if runs is None:
        return None
    trials = {_identity(trial): trial}
    for other in runs:
        earlier = _read(other.data.tags, other.data.metrics, trial.price_hashes)
        if earlier.scores:
            trials.setdefault(_identity(earlier), earlier)
    return list(trials.values())


def count_trials(trial: ScoredTrial, window: str) -> list[ScoredTrial] | None:
    """`known_trials`, saying in the log how many there are, or that nobody knows."""
    trials = known_trials(trial, window)
    if trials is None:
        logger.warning("no tracking store: trials are not known, so no deflated Sharpe ratio is given")
    else:
        logger.info("%d trial(s) of these prices and window, this one included", len(trials))
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
    tried = known_attempts(hashes_before(states, test), " ".join(test), {trial.attempt for trial in trials})
    if tried:
        logger.info("%d more were tried on validation only, by sweeps for this window", len(tried))
    return tried


def _identity(trial: ScoredTrial) -> str:
    """What makes a trial another one: its configuration and seed, however often, fast or where it was trained."""
    return trial.attempt or trial.policy_hash


def record_attempt(attempt: ValidatedTrial, window: str) -> None:
    """Log `attempt` to the active run, so that later backtests on `window` count it as a trial."""
    import mlflow

    if active_run() is None:
        return
    before = {f"{BEFORE}{symbol}": price_hash for symbol, price_hash in attempt.hashes_before.items()}
    with store_may_fail("later backtests will not count this attempt"):
        mlflow.log_metrics({f"{TRIED}{symbol}": value for symbol, value in attempt.sharpes.items()})
        mlflow.set_tags({"tried": "true", "test_window": window, "attempt": attempt.attempt, **before})


def known_attempts(hashes_before: Mapping[str, str], window: str, scored: set[str]) -> list[ValidatedTrial]:
    """Every attempt of a finished run of this experiment for the same prices and window that is none of `scored`.

    Returns:
        One entry for each, cut to the symbols whose prices before the window are the same; none where the store does
        not answer, which is logged.
    """
    import mlflow

    run = mlflow.active_run()
    if run is None:
        return []
    runs = []
    with store_may_fail("what sweeps tried is not counted"):
        runs = mlflow.search_runs(
            experiment_ids=[run.info.experiment_id],
            filter_string=f"attributes.status = 'FINISHED' and tags.tried = 'true' and tags.test_window = '{window}'",
            max_results=50_000,
            output_format="list",
        )
    attempts: dict[str, ValidatedTrial] = {}
    for other in runs:
        tags, metrics = other.data.tags, other.data.metrics
        same = {symbol: value for symbol, value in hashes_before.items() if tags.get(f"{BEFORE}{symbol}") == value}
        sharpes = {symbol: metrics[f"{TRIED}{symbol}"] for symbol in same if f"{TRIED}{symbol}" in metrics}
        if sharpes and tags["attempt"] not in scored:
            attempts.setdefault(tags["attempt"], ValidatedTrial(tags["attempt"], sharpes, same))
    return list(attempts.values())


def _read(tags: Mapping[str, str], metrics: Mapping[str, float], price_hashes: Mapping[str, str]) -> ScoredTrial:
    """A recorded trial, cut to the symbols that were scored on these prices."""
    same = {symbol: value for symbol, value in price_hashes.items() if tags.get(f"{PRICES}{symbol}") == value}
    scores: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        if name.startswith(PREFIX):
            symbol, metric = name.removeprefix(PREFIX).rsplit("/", 1)
            if symbol in same:
                scores.setdefault(symbol, {})[metric] = value
    return ScoredTrial(
        tags["policy_hash"], tags["config_hash"], int(tags["seed"]), scores, same, tags.get("attempt", "")
    )
