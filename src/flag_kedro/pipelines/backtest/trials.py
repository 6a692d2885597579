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
        excess = returns - cash
        std = float(excess.std(ddof=1)) if len(excess) > 1 else 0.0
        sharpe = float(excess.mean()) / std if std >= 1e-12 else 0.0
        scores[symbol] = {"session_sharpe": sharpe, "cumulative_return": float(returns.sum())}
    config = sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
    return Trial(folder_hash(policy), config, int(seed), scores)


def count_trials(trial: Trial, data_hash: str, window: str) -> list[Trial]:
    """`trial` and all others known of the same data and window."""
    trials = known_trials(trial, data_hash, window)
    if trials is None:
        logger.warning("no tracking store: the deflated Sharpe ratio counts this trial alone")
        return [trial]
    logger.info("%d trial(s) of this data and window, this one included", len(trials))
    return trials


def spread_over_seeds(
    trial: Trial, trials: Sequence[Trial], calendars: Mapping[str, str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Median, interquartile mean and spread over the seeds of this trial's configuration, by symbol and metric."""
    alike = {known.seed: known for known in trials if known.config_hash == trial.config_hash}
    if len(alike) < 2:
        return {}
    found = {}
    for symbol in trial.scores:
        scores = [known.scores[symbol] for known in alike.values()]
        year = math.sqrt(days_per_year(calendars[symbol]))
        found[symbol] = {
            "cumulative_return": summarise_seeds([score["cumulative_return"] for score in scores]),
            "sharpe_ratio": summarise_seeds([score["session_sharpe"] * year for score in scores]),
        }
    return found
