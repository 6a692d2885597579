"""Trials: what identifies a policy that was tried on a window, and how the seeds of one configuration scatter.

Whoever tries often enough finds a good window. The deflated Sharpe ratio needs to know how often that was, so a trial
is identified by its configuration and its seed, wherever and however fast it was trained, and the market it was scored
on by its returns session by session: another scale of prices or a window a day shorter is the same market.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256
from typing import Any

import numpy as np
import polars as pl

from flag_kedro.backtest.inference import SeedSummary, summarise_seeds
from flag_kedro.backtest.metrics import TINY_STD
from flag_kedro.backtest.pooled import pool_accounts
from flag_kedro.backtest.replay import EQUITY
from flag_kedro.backtest.scores import days_per_year, session_sharpe
from flag_kedro.env.account import Floats
from flag_kedro.env.evaluation import EvaluationWindow
from flag_kedro.features.market_state import data_hash
from flag_kedro.names import ALL_SYMBOLS, TINY

SPEED = ("resume", "checkpoint_interval", "trunk_cache", "trunk_cache_mb", "prefix_kv_mb", "max_tokens")
"""Parameters of `policy` and `ppo` on which results do not depend."""


MIN_COMMON = 20
"""Sessions that two windows must share to be looked at as one market; all of a window that has fewer."""
SAME_RETURN = 1e-4
"""Log returns that differ by less are of one price: sources round, and adjust for dividends in their own ways."""
SESSIONS_BEFORE = 250
"""Sessions before a window by which its market is known without reading it."""
MIN_SAME = 0.9
"""Share of the common sessions on which returns must be the same."""


@dataclass(frozen=True)
class ReturnPath:
    """What a symbol and a policy on it returned, session by session, [n] each."""

    sessions: Sequence[str]
    """ISO dates on which the returns ended."""
    market: Sequence[float]
    """Log returns of the closes."""
    policy: Sequence[float]
    """Log returns of the policy's account less cash."""


@dataclass(frozen=True)
class ScoredTrial:
    """One policy's scores on the window, by symbol; `all` is the account of all symbols."""

    policy_hash: str
    """Of the bundle: other parameters or another seed give another hash."""
    config_hash: str
    """Of everything that made the policy but its seed."""
    seed: int
    scores: Mapping[str, Mapping[str, float]]
    """Symbol -> metric -> value; `session_sharpe` is the Sharpe ratio per session."""
    paths: Mapping[str, ReturnPath]
    """What it was scored on, by symbol."""
    attempt: str = ""
    """Of everything that made the policy, seed included, and that is known before the window is read."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "ScoredTrial":
        """From what `dataclasses.asdict` made of one."""
        return cls(**{**content, "paths": {name: ReturnPath(**path) for name, path in content["paths"].items()}})

    def on_markets_of(self, other: "ScoredTrial") -> "ScoredTrial":
        """Cut to the symbols whose market is that of the same symbol in `other`; one is enough for `all`."""
        same = same_markets(self.paths, other.paths)
        scores = {symbol: self.scores[symbol] for symbol in same}
        return replace(self, scores=scores, paths={symbol: self.paths[symbol] for symbol in same})


@dataclass(frozen=True)
class ValidatedTrial:
    """A policy that was trained for the window and scored on validation only: tried, though never scored on it."""

    attempt: str
    """As in `ScoredTrial`."""
    sharpes: Mapping[str, float]
    """Symbol -> Sharpe ratio per session on validation; `all` is the account of all symbols."""
    paths: Mapping[str, ReturnPath]
    """Symbol -> its market before the window; see `paths_before`."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "ValidatedTrial":
        """From what `dataclasses.asdict` made of one."""
        return cls(**{**content, "paths": {name: ReturnPath(**path) for name, path in content["paths"].items()}})


def same_markets(paths: Mapping[str, ReturnPath], others: Mapping[str, ReturnPath]) -> list[str]:
    """Symbols of `paths` whose market is that of the same symbol in `others`.

    `all` is one of them as soon as another is: its own returns depend on which symbols it holds and since when, and who
    has seen one of them has seen a part of it.
    """
    symbols = [symbol for symbol in paths if symbol != ALL_SYMBOLS and symbol in others]
    same = [symbol for symbol in symbols if is_same_market(paths[symbol], others[symbol])]
    return [*same, ALL_SYMBOLS] if same and ALL_SYMBOLS in paths else same


def is_same_market(one: ReturnPath, other: ReturnPath) -> bool:
    """Whether two windows share sessions with the same returns of the market, whatever the scale of the prices."""
    market_of = dict(zip(other.sessions, other.market, strict=True))
    pairs = [(value, market_of[day]) for day, value in zip(one.sessions, one.market, strict=True) if day in market_of]
    if len(pairs) < max(1, min(MIN_COMMON, len(one.sessions), len(other.sessions))):
        return False
    differences = np.abs(np.array([value - other_value for value, other_value in pairs]))
    return bool((differences <= SAME_RETURN).mean() >= MIN_SAME)


def mean_correlation(paths: Sequence[ReturnPath]) -> float:
    """Mean correlation of the returns of all pairs of trials on one symbol, at least 0; of one trial 0.

    Of their common sessions. Equal series have correlation 1, also where they never vary; others that never do have 0.
    """
    num = len(paths)
    if num < 2:
        return 0.0
    import pandas as pd  # takes long to import

    series = {
        k: pd.Series(path.policy, index=list(path.sessions), dtype=np.float64)
        for k, path in enumerate(paths)
        if len(path.policy) and np.ptp(path.policy) >= TINY_STD
    }
    correlations = np.zeros((num, num))
    if series:
        varying = list(series)
        correlations[np.ix_(varying, varying)] = np.nan_to_num(pd.DataFrame(series).corr(min_periods=2).to_numpy())
    same: dict[bytes, list[int]] = {}
    for k, path in enumerate(paths):
        same.setdefault(repr((path.sessions, path.policy)).encode(), []).append(k)
    for group in same.values():
        correlations[np.ix_(group, group)] = 1.0
    np.fill_diagonal(correlations, 0.0)
    return max(0.0, float(correlations.sum() / (num * (num - 1))))


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
    scores, paths = {}, {}
    for symbol, table in _returns_by_symbol(log_returns, evaluation).items():
        policy, market, cash = (table[name].to_numpy() for name in ("policy", "market", "cash"))
        scores[symbol] = {
            "session_sharpe": session_sharpe(policy, cash),
            "cumulative_return": float(policy.sum()),
        }
        days = table["session"].cast(pl.String).to_list()
        paths[symbol] = ReturnPath(days, market.tolist(), (policy - cash).tolist())
    attempt = attempt_hash(description, states, evaluation.dates)
    return ScoredTrial(policy_hash, config_hash(description), int(description["seed"]), scores, paths, attempt)


def _returns_by_symbol(log_returns: Mapping[str, Floats], evaluation: EvaluationWindow) -> dict[str, pl.DataFrame]:
    """`session` and the log returns `policy`, `market` and `cash` that ended there, of each symbol and of `all`."""
    sessions = dict(zip(evaluation.window.symbols, evaluation.window.sessions, strict=True))
    tables = []
    for symbol, closes in evaluation.marks.items():
        returns = {
            "policy": log_returns[symbol], "market": np.diff(np.log(closes)), "cash": evaluation.cash_returns[symbol]
        }  # fmt: skip
        for name, values in returns.items():
            equity = np.exp(np.concatenate([[0.0], np.cumsum(values)]))
            path = {"strategy": name, "symbol": symbol, "session": sessions[symbol], "equity": equity, "position": 0}
            columns = {**path, "log_return": [None, *values], "traded_value": 0.0, "exposure": 0.0}
            tables.append(pl.DataFrame(columns, schema=EQUITY, strict=False))
    together = pl.concat(tables)
    together = pl.concat([together, pool_accounts(together)]).drop_nulls("log_return")
    return {
        str(symbol): rows.pivot("strategy", index="session", values="log_return")
        for (symbol,), rows in together.group_by("symbol", maintain_order=True)
    }


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


def paths_before(states: Mapping[str, pl.DataFrame], test: tuple[str, str]) -> dict[str, ReturnPath]:
    """The market of each symbol over the last sessions before the test window.

    With the window's dates it tells, without reading them, which market a sweep chooses a policy for.
    """
    paths = {}
    for symbol, table in states.items():
        before = table.filter(pl.col("session") < date.fromisoformat(test[0])).tail(SESSIONS_BEFORE + 1)
        returns = np.diff(np.log(before["mark_price"].to_numpy().astype(np.float64)))
        days = before["session"].cast(pl.String).to_list()[1:]
        paths[symbol] = ReturnPath(days, returns.tolist(), [0.0] * len(days))
    return paths


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


def trial_correlations(trials: Sequence[ScoredTrial]) -> dict[str, float]:
    """Mean correlation of the returns of all pairs of trials, by symbol."""
    symbols = dict.fromkeys(symbol for trial in trials for symbol in trial.paths)
    return {
        symbol: mean_correlation([trial.paths[symbol] for trial in trials if symbol in trial.paths])
        for symbol in symbols
    }


def spread_over_seeds(
    trial: ScoredTrial, trials: Sequence[ScoredTrial], calendars: Mapping[str, str]
) -> dict[str, dict[str, SeedSummary]]:
    """Median, interquartile mean and spread over the seeds of this trial's configuration, by symbol and metric."""
    by_seed = {trial.seed: trial}  # the newest of a seed: this one, else the store's latest
    for other in trials:
        if other.config_hash == trial.config_hash:
            by_seed.setdefault(other.seed, other)
    spread = {}
    for symbol in calendars:
        scores = [other.scores[symbol] for other in by_seed.values() if symbol in other.scores]
        if len(scores) < 2:
            continue
        year = math.sqrt(days_per_year(calendars[symbol]))
        spread[symbol] = {
            "cumulative_return": summarise_seeds([score["cumulative_return"] for score in scores]),
            "sharpe_ratio": summarise_seeds([score["session_sharpe"] * year for score in scores]),
        }
    return spread
