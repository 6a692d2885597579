"""A training that is scored on its test window, and what its run says of it."""

import json
import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from flag_kedro.backtest.trials import ScoredTrial, score_trial
from flag_kedro.experiments.folds import Fold
from flag_kedro.experiments.scoring import Row, RunSettings, ScoredRun, fold_evaluation
from flag_kedro.names import ALL_SYMBOLS, BENCHMARK, BEST_VALIDATION_LOG_RETURN, POLICY
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.ppo.history import OnUpdate
from flag_kedro.tracking.log import log_metrics
from flag_kedro.tracking.scores import flatten_scores
from flag_kedro.tracking.trials import record_trial

if TYPE_CHECKING:  # imports torch
    from flag_kedro.experiments.runs import Shared

logger = logging.getLogger(__name__)


def train_and_score(
    states: Mapping[str, pl.DataFrame],
    fold: Fold,
    seed: int,
    settings: RunSettings,
    shared: "Shared",
    facts: Mapping[str, Any],
    on_update: OnUpdate,
) -> Row:
    """The row of a training, with its policy as a `trial` of the test window, fit for JSON."""
    from flag_kedro.experiments.runs import run_fold

    with tempfile.TemporaryDirectory() as folder:
        run = run_fold(states, fold, seed, settings, shared, facts=facts, bundle=Path(folder), on_update=on_update)
        return as_trial(run, states, fold, settings, Path(folder))


def as_trial(
    run: ScoredRun, states: Mapping[str, pl.DataFrame], fold: Fold, settings: RunSettings, policy: Path
) -> Row:
    """The row of `run` with the policy in a folder as a `trial`: whoever looks at a test window has tried it."""
    returns = {symbol: np.array(values) for symbol, values in run.log_returns[POLICY].items()}
    description = json.loads((policy / "policy.json").read_text())
    evaluation = fold_evaluation(states, fold.test, settings)
    trial = score_trial(description, folder_hash(policy), returns, evaluation, states)
    return asdict(run) | {"trial": asdict(trial)}


def log_scored(row: Row) -> None:
    """Log scores and trial to the active run."""
    chosen = {} if (best := row["validation_log_return"]) is None else {BEST_VALIDATION_LOG_RETURN: best}
    trial = ScoredTrial.from_json(row["trial"])
    together = {f"{ALL_SYMBOLS}/{POLICY}/{metric}": value for metric, value in trial.scores[ALL_SYMBOLS].items()}
    log_metrics(flatten_scores(row["scores"]) | chosen | together, 0, int(time.time() * 1000))
    record_trial(trial, " ".join(row["windows"]["test"]))
    logger.info("fold %s, seed %d: %s", row["fold"], row["seed"], _summarise(row))


def _summarise(row: Row) -> str:
    earned = {
        name: [scores[name]["cumulative_return"] for scores in row["scores"].values()] for name in (POLICY, BENCHMARK)
    }
    shown = {name: "ruined" if None in values else f"{mean(values):+.3f}" for name, values in earned.items()}
    return f"log return on test {shown[POLICY]}, buy and hold {shown[BENCHMARK]}, means over symbols"
