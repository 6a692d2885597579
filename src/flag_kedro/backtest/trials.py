"""Trials: what identifies a policy that was tried on a window, and how the seeds of one configuration scatter.

Whoever tries often enough finds a good window. The deflated Sharpe ratio needs to know how often that was, so a trial
is identified by its configuration, its seed and the prices it was scored on, wherever and however fast it was trained.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Any

import polars as pl

from flag_kedro.backtest.inference import SeedSummary, summarise_seeds
from flag_kedro.backtest.scores import days_per_year, session_sharpe
from flag_kedro.env.account import Floats
from flag_kedro.env.evaluation import EvaluationWindow
from flag_kedro.features.market_state import data_hash
from flag_kedro.names import TINY

SPEED = ("resume", "checkpoint_interval", "trunk_cache", "trunk_cache_mb", "max_tokens")
"""Parameters of `policy` and `ppo` on which results do not depend."""


@dataclass(frozen=True)
class ScoredTrial:
    """One policy's scores on the window, by symbol."""

    policy_hash: str
    """Of the bundle: other parameters or another seed give another hash."""
    config_hash: str
    """Of everything that made the policy but its seed."""
    seed: int
    scores: Mapping[str, Mapping[str, float]]
    """Symbol -> metric -> value; `session_sharpe` is the Sharpe ratio per session."""
    price_hashes: Mapping[str, str]
    """Symbol -> hash of the prices it was scored on."""
    attempt: str = ""
    """Of everything that made the policy, seed included, and that is known before the window is read."""


@dataclass(frozen=True)
class ValidatedTrial:
    """A policy that was trained for the window and scored on validation only: tried, though never scored on it."""

    attempt: str
    """As in `ScoredTrial`."""
    sharpes: Mapping[str, float]
    """Symbol -> Sharpe ratio per session on validation."""
    hashes_before: Mapping[str, str]
    """Symbol -> hash of the prices before the window."""


def score_trial(
    description: Mapping[str, Any],
    policy_hash: str,
    log_returns: Mapping[str, Floats],
    evaluation: EvaluationWindow,
    states: Mapping[str, pl.DataFrame],
) -> ScoredTrial:
    """A policy as one trial; symbols whose equity never moves have a Sharpe ratio of 0.

    Args:
        description: `policy.json` of its bundle.
        policy_hash: of the bundle.
        log_returns: what it earned on the window, by symbol, [n - 1].
        evaluation: the window.
        states: market states that it was trained on.
    """
    scores = {
        symbol: {
            "session_sharpe": session_sharpe(log_returns[symbol], cash),
            "cumulative_return": float(log_returns[symbol].sum()),
        }
        for symbol, cash in evaluation.cash_returns.items()
    }
    attempt = attempt_hash(description, states, evaluation.dates)
    return ScoredTrial(
        policy_hash, config_hash(description), int(description["seed"]), scores, _price_hashes(evaluation), attempt
    )


def config_hash(description: Mapping[str, Any]) -> str:
    """What made a policy, but for its seed: a hash of its `policy.json`."""
    config = {name: value for name, value in description.items() if name != "seed"}
    if description["policy"]["backbone"] == TINY:
        del config["backbone_hash"]  # the tiny backbone is drawn from the seed
    config |= {group: without_speed(description[group]) for group in ("policy", "ppo")}
    return sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def attempt_hash(description: Mapping[str, Any], states: Mapping[str, pl.DataFrame], test: tuple[str, str]) -> str:
    """What identifies a training with one seed before its test window is read.

    Args:
        description: `policy`, `ppo`, `env`, `windows`, `symbols`, `calendars`, `seed` and `backbone_hash` of a bundle.
        states: market states; those of the test window do not matter and may be missing.
        test: the test window's first and last date.
    """
    identity = {name: description[name] for name in ("env", "windows", "symbols", "calendars", "seed")}
    identity |= {group: without_speed(description[group]) for group in ("policy", "ppo")}
    if description["policy"]["backbone"] != TINY:
        identity["backbone_hash"] = description["backbone_hash"]
    identity["data_hash"] = data_hash(outside_window(states, test))
    return sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


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
    hashes = {}
    for symbol, table in states.items():
        before = table.filter(pl.col("session") < date.fromisoformat(test[0]))
        hashes[symbol] = _hash_closes(before["session"].to_list(), before["mark_price"].to_numpy())
    return hashes


def _price_hashes(evaluation: EvaluationWindow) -> dict[str, str]:
    """One hash for each symbol's sessions and closes on the window: what a trial is scored on.

    Features and the choice of other symbols are no part of it: another digest on the same prices is one more try.
    """
    sessions = dict(zip(evaluation.window.symbols, evaluation.window.sessions, strict=True))
    return {symbol: _hash_closes(sessions[symbol], closes) for symbol, closes in evaluation.marks.items()}


def _hash_closes(sessions: Sequence[date], closes: Floats) -> str:
    return sha256("".join(map(str, sessions)).encode() + closes.tobytes()).hexdigest()[:16]


def validated_sharpes(trials: Sequence[ValidatedTrial]) -> dict[str, list[float]]:
    """Sharpe ratios per session on validation of every trial, by symbol."""
    sharpes: dict[str, list[float]] = {}
    for trial in trials:
        for symbol, sharpe in trial.sharpes.items():
            sharpes.setdefault(symbol, []).append(sharpe)
    return sharpes


def scored_sharpes(trials: Sequence[ScoredTrial]) -> dict[str, list[float]]:
    """Sharpe ratios per session of every trial, by symbol."""
    sharpes: dict[str, list[float]] = {}
    for trial in trials:
        for symbol, scores in trial.scores.items():
            sharpes.setdefault(symbol, []).append(scores["session_sharpe"])
    return sharpes


def spread_over_seeds(
    trial: ScoredTrial, trials: Sequence[ScoredTrial], calendars: Mapping[str, str]
) -> dict[str, dict[str, SeedSummary]]:
    """Median, interquartile mean and spread over the seeds of this trial's configuration, by symbol and metric."""
    by_seed = {trial.seed: trial}  # the newest of a seed: this one, else the store's latest
    for other in trials:
        if other.config_hash == trial.config_hash:
            by_seed.setdefault(other.seed, other)
    spread = {}
    for symbol in trial.scores:
        scores = [other.scores[symbol] for other in by_seed.values() if symbol in other.scores]
        if len(scores) < 2:
            continue
        year = math.sqrt(days_per_year(calendars[symbol]))
        spread[symbol] = {
            "cumulative_return": summarise_seeds([score["cumulative_return"] for score in scores]),
            "sharpe_ratio": summarise_seeds([score["session_sharpe"] * year for score in scores]),
        }
    return spread
