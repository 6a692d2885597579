"""How often the test window was tried, and how the seeds of one configuration scatter."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.backtest.evaluation import EvaluationWindow
from flag_kedro.backtest.inference import summarise_seeds
from flag_kedro.backtest.scores import days_per_year, session_sharpe
from flag_kedro.env.account import Floats
from flag_kedro.features.market_state import data_hash
from flag_kedro.policy.config import TINY
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.tracking.trials import ScoredTrial, ValidatedTrial, known_attempts, known_trials

logger = logging.getLogger(__name__)
SPEED = ("resume", "checkpoint_interval", "trunk_cache", "trunk_cache_mb", "max_tokens")
"""Parameters of `policy` and `ppo` on which results do not depend."""


def this_trial(policy: Path, equity: pl.DataFrame, judged: EvaluationWindow) -> ScoredTrial:
    """The backtested policy as one trial, see `trial_of`."""
    own = equity.filter(pl.col("strategy") == "flag_trader").partition_by("symbol", as_dict=True)
    return trial_of(
        policy, {str(s): table["log_return"].drop_nulls().to_numpy() for (s,), table in own.items()}, judged
    )


def trial_of(policy: Path, log_returns: Mapping[str, Floats], judged: EvaluationWindow) -> ScoredTrial:
    """A policy's folder as one trial; symbols whose equity never moves have a Sharpe ratio of 0.

    Args:
        policy: the bundle.
        log_returns: what it earned on the window, by symbol.
        judged: the window.
    """
    description = json.loads((policy / "policy.json").read_text())
    seed = description.pop("seed")
    if description["policy"]["backbone"] == TINY:
        del description["backbone_hash"]  # the tiny backbone is drawn from the seed
    scores = {}
    for symbol, cash in judged.cash_returns.items():
        returns = log_returns[symbol]
        scores[symbol] = {
            "session_sharpe": session_sharpe(returns, cash),
            "cumulative_return": float(returns.sum()),
        }
    description |= {group: without_speed(description[group]) for group in ("policy", "ppo")}
    config = sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
    return ScoredTrial(folder_hash(policy), config, int(seed), scores, _price_hashes(judged))


def with_attempt(
    trial: ScoredTrial, policy: Path, states: Mapping[str, pl.DataFrame], test: tuple[str, str]
) -> ScoredTrial:
    """The trial with the hash by which a sweep knows the same configuration and seed, see `attempt_hash`."""
    return replace(trial, attempt=attempt_hash(json.loads((policy / "policy.json").read_text()), states, test))


def attempt_hash(description: Mapping[str, Any], states: Mapping[str, pl.DataFrame], test: tuple[str, str]) -> str:
    """What a training with one seed is known by before its test window is read.

    Args:
        description: `policy`, `ppo`, `env`, `windows`, `symbols`, `calendars`, `seed` and `backbone_hash` of a bundle.
        states: market states; those of the test window do not matter and may be missing.
        test: the test window's first and last date.
    """
    known = {name: description[name] for name in ("env", "windows", "symbols", "calendars", "seed")}
    known |= {group: without_speed(description[group]) for group in ("policy", "ppo")}
    if description["policy"]["backbone"] != TINY:
        known["backbone_hash"] = description["backbone_hash"]
    known["data_hash"] = data_hash(outside_window(states, test))
    return sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def without_speed(group: Mapping[str, Any]) -> dict[str, Any]:
    """`policy` or `ppo` of a bundle without what results do not depend on."""
    return {name: value for name, value in group.items() if name not in SPEED}


def outside_window(states: Mapping[str, pl.DataFrame], test: tuple[str, str]) -> dict[str, pl.DataFrame]:
    """The market states without those of the test window."""
    first, last = map(date.fromisoformat, test)
    return {symbol: table.filter(~pl.col("session").is_between(first, last)) for symbol, table in states.items()}


def hashes_before(states: Mapping[str, pl.DataFrame], test: tuple[str, str]) -> dict[str, str]:
    """One hash for each symbol's sessions and closes before the test window.

    With the window's dates it tells, without reading them, which prices a sweep chooses a policy for.
    """
    found = {}
    for symbol, table in states.items():
        before = table.filter(pl.col("session") < date.fromisoformat(test[0]))
        days, closes = "".join(map(str, before["session"])), before["mark_price"].to_numpy()
        found[symbol] = sha256(days.encode() + closes.tobytes()).hexdigest()[:16]
    return found


def tried_sharpes_of(attempts: Sequence[ValidatedTrial]) -> dict[str, list[float]]:
    """Sharpe ratios per session on validation of every attempt, by symbol."""
    found: dict[str, list[float]] = {}
    for attempt in attempts:
        for symbol, sharpe in attempt.sharpes.items():
            found.setdefault(symbol, []).append(sharpe)
    return found


def count_attempts(
    states: Mapping[str, pl.DataFrame], test: tuple[str, str], trials: Sequence[ScoredTrial] | None
) -> list[ValidatedTrial]:
    """What sweeps tried for the same prices and window and none of `trials` is."""
    if trials is None:
        return []
    attempts = known_attempts(hashes_before(states, test), " ".join(test), {trial.attempt for trial in trials})
    if attempts:
        logger.info("%d more were tried on validation only, by sweeps for this window", len(attempts))
    return attempts


def _price_hashes(judged: EvaluationWindow) -> dict[str, str]:
    """One hash for each symbol's sessions and closes on the window: what a trial is scored on.

    Features and the choice of other symbols are no part of it: another digest on the same prices is one more try.
    """
    days = dict(zip(judged.window.symbols, judged.window.sessions, strict=True))
    return {
        symbol: sha256("".join(map(str, days[symbol])).encode() + closes.tobytes()).hexdigest()[:16]
        for symbol, closes in judged.marks.items()
    }


def count_trials(trial: ScoredTrial, window: str) -> list[ScoredTrial] | None:
    """`trial` and all others known of the same prices and window; None, with a warning, where no store tells."""
    trials = known_trials(trial, window)
    if trials is None:
        logger.warning("no tracking store: trials are not known, so no deflated Sharpe ratio is given")
    else:
        logger.info("%d trial(s) of these prices and window, this one included", len(trials))
    return trials


def sharpes_of(trials: Sequence[ScoredTrial]) -> dict[str, list[float]]:
    """Sharpe ratios per session of every trial, by symbol."""
    found: dict[str, list[float]] = {}
    for trial in trials:
        for symbol, scores in trial.scores.items():
            found.setdefault(symbol, []).append(scores["session_sharpe"])
    return found


def spread_over_seeds(
    trial: ScoredTrial, trials: Sequence[ScoredTrial], calendars: Mapping[str, str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Median, interquartile mean and spread over the seeds of this trial's configuration, by symbol and metric."""
    alike = {trial.seed: trial}  # the newest of a seed: this one, else the store's latest
    for known in trials:
        if known.config_hash == trial.config_hash:
            alike.setdefault(known.seed, known)
    found = {}
    for symbol in trial.scores:
        scores = [known.scores[symbol] for known in alike.values() if symbol in known.scores]
        if len(scores) < 2:
            continue
        year = math.sqrt(days_per_year(calendars[symbol]))
        found[symbol] = {
            "cumulative_return": asdict(summarise_seeds([score["cumulative_return"] for score in scores])),
            "sharpe_ratio": asdict(summarise_seeds([score["session_sharpe"] * year for score in scores])),
        }
    return found
