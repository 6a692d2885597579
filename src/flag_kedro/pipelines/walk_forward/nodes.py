"""Nodes of the walk_forward pipeline. torch is imported inside, so that listing pipelines stays quick."""

import logging
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from flag_kedro.backtest.config import BacktestConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.experiments.config import WalkForwardConfig, chosen_seeds
from flag_kedro.experiments.folds import Fold, common_sessions, roll_folds
from flag_kedro.experiments.out_of_sample import concatenate_folds, mean_paths
from flag_kedro.experiments.scoring import RunSettings
from flag_kedro.experiments.walk_forward import summarise_folds
from flag_kedro.experiments.walk_forward_plot import plot_walk_forward
from flag_kedro.pipelines.scored import log_scored, train_and_score
from flag_kedro.pipelines.trainings import QueuedTraining, open_experiment, train_all
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.tracking.log import log_metrics, set_tags

logger = logging.getLogger(__name__)


def walk_forward(
    split: MarketSplit,
    shared_backbone: Path,
    trunk_cache: Path,
    walk_forward_rows: Path,
    config: WalkForwardConfig,
    settings: RunSettings,
    backtest: BacktestConfig,
    seed: int,
    seeds: Any,
) -> dict[str, Any]:
    """Train on every fold with every seed, trade each test window once, and score the folds one behind the other."""
    folds = roll_folds(
        common_sessions(split.states), train=config.train_sessions, validation=config.validation_sessions,
        test=config.test_sessions, folds=config.folds,
    )  # fmt: skip
    facts = split.state_facts
    set_tags({"data_hash": facts["data_hash"]})
    experiment_facts = {"folds": [fold.as_text() for fold in folds], "backbone": folder_hash(shared_backbone), **facts}
    finished, shared = open_experiment(walk_forward_rows, experiment_facts, shared_backbone, trunk_cache, settings)
    trainings = [
        QueuedTraining(
            name=f"{fold.name}-{chosen}",
            run_name=f"fold {fold.name} seed {chosen}",
            params=_params(fold, chosen),
            num_updates=settings.ppo.num_updates(len(split.states)),
            work=partial(train_and_score, split.states, fold, chosen, settings, shared, facts),
            report=log_scored,
        )
        for fold in folds
        for chosen in chosen_seeds(seeds, seed)
    ]
    rows = train_all("walk forward", trainings, finished, settings.runtime)
    paths = concatenate_folds(rows, facts["calendars"])
    summary = {s: asdict(path) for s, path in summarise_folds(paths, backtest.bootstrap_draws, seed).items()}
    log_metrics(_flatten(summary), 0, int(time.time() * 1000))
    means = {symbol: asdict(path) for symbol, path in mean_paths(paths).items()}
    return {"key": finished.key, "summary": summary, "paths": means, "rows": rows}


def draw_walk_forward(results: dict[str, Any]) -> go.Figure:
    """Equity over all folds, and each fold's score by seed."""
    return plot_walk_forward(results)


def _params(fold: Fold, seed: int) -> dict[str, object]:
    dates = {name: " ".join(span) for name, span in fold.as_text().items() if span}
    return {"fold": fold.name, "seed": seed, **dates}


def _flatten(summary: dict[str, dict[str, Any]]) -> dict[str, float]:
    """`walk_forward/SYMBOL/STRATEGY/METRIC` of every number, and of the test."""
    flat: dict[str, Any] = {}
    for symbol, scored in summary.items():
        prefix = f"walk_forward/{symbol}"
        for strategy, scores in scored["strategies"].items():
            flat |= {f"{prefix}/{strategy}/{metric}": value for metric, value in scores.items()}
        tested = scored["sharpe_difference"]
        flat |= {
            f"{prefix}/sharpe_difference": tested["value"],
            f"{prefix}/sharpe_difference_p_value": tested["p_value"],
        }
    return {name: float(value) for name, value in flat.items() if isinstance(value, (int, float))}
