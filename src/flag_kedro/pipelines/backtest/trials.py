"""How often the test window was tried, and how the seeds of one configuration scatter."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.backtest.inference import summarise_seeds
from flag_kedro.backtest.metrics import sharpe_ratio
from flag_kedro.backtest.scores import days_per_year
from flag_kedro.pipelines.backtest.judged import JudgedWindow
from flag_kedro.policy.config import TINY
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.tracking.trials import Trial, known_trials

logger = logging.getLogger(__name__)


def this_trial(policy: Path, equity: pl.DataFrame, judged: JudgedWindow) -> Trial:
    """The backtested policy as one trial; symbols whose equity never moves have a Sharpe ratio of 0."""
    description = json.loads((policy / "policy.json").read_text())
    seed = description.pop("seed")
    if description["policy"]["backbone"] == TINY:
        del description["backbone_hash"]  # the tiny backbone is drawn from the seed
    scores = {}
    for symbol, cash in judged.cash_returns.items():
        own = equity.filter((pl.col("strategy") == "flag_trader") & (pl.col("symbol") == symbol))
        returns = own["log_return"].drop_nulls().to_numpy()
        sharpe = float(sharpe_ratio(returns - cash, days=1))
        scores[symbol] = {
            "session_sharpe": 0.0 if math.isnan(sharpe) else sharpe,
            "cumulative_return": float(returns.sum()),
        }
    config = sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
    return Trial(folder_hash(policy), config, int(seed), scores, _price_hashes(judged))


def _price_hashes(judged: JudgedWindow) -> dict[str, str]:
    """One hash for each symbol's sessions and closes on the window: what a trial is scored on.

    Features and the choice of other symbols are no part of it: another digest on the same prices is one more try.
    """
    days = dict(zip(judged.window.symbols, judged.window.sessions, strict=True))
    return {
        symbol: sha256("".join(map(str, days[symbol])).encode() + closes.tobytes()).hexdigest()[:16]
        for symbol, closes in judged.marks.items()
    }


def count_trials(trial: Trial, window: str) -> list[Trial] | None:
    """`trial` and all others known of the same prices and window; None, with a warning, where no store tells."""
    trials = known_trials(trial, window)
    if trials is None:
        logger.warning("no tracking store: trials are not known, so no deflated Sharpe ratio is given")
    else:
        logger.info("%d trial(s) of these prices and window, this one included", len(trials))
    return trials


def sharpes_of(trials: Sequence[Trial]) -> dict[str, list[float]]:
    """Sharpe ratios per session of every trial, by symbol."""
    found: dict[str, list[float]] = {}
    for trial in trials:
        for symbol, scores in trial.scores.items():
            found.setdefault(symbol, []).append(scores["session_sharpe"])
    return found


def spread_over_seeds(
    trial: Trial, trials: Sequence[Trial], calendars: Mapping[str, str]
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
            "cumulative_return": summarise_seeds([score["cumulative_return"] for score in scores]),
            "sharpe_ratio": summarise_seeds([score["session_sharpe"] * year for score in scores]),
        }
    return found
