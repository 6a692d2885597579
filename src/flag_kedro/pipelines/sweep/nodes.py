"""Nodes of the sweep pipeline. torch is imported inside, so that listing pipelines stays quick."""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
import polars as pl

from flag_kedro.backtest.trials import ValidatedTrial, attempt_hash, outside_window, paths_before
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.errors import ParameterError
from flag_kedro.experiments.config import SweepConfig, chosen_seeds
from flag_kedro.experiments.folds import Fold
from flag_kedro.experiments.frontier import risk_frontier
from flag_kedro.experiments.frontier_plot import plot_frontier
from flag_kedro.experiments.scoring import Row, RunSettings, fold_evaluation
from flag_kedro.experiments.sweep import Combination, combinations, rank
from flag_kedro.names import BEST_VALIDATION_LOG_RETURN, TINY
from flag_kedro.pipelines.trainings import QueuedTraining, open_experiment, train_all
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.history import OnUpdate
from flag_kedro.tracking.log import log_metrics
from flag_kedro.tracking.scores import flatten_scores
from flag_kedro.tracking.trials import record_attempt

if TYPE_CHECKING:  # imports torch
    from flag_kedro.experiments.runs import Shared

logger = logging.getLogger(__name__)


def sweep(
    split: MarketSplit,
    shared_backbone: Path,
    trunk_cache: Path,
    sweep_rows: Path,
    config: SweepConfig,
    base: RunSettings,
    seed: int,
    seeds: Any,
) -> dict[str, Any]:
    """Train every combination with every seed and rank them on validation; the test window is never read."""
    fold = _fold(split)
    states = outside_window(split.states, _test(fold))
    grid = _combinations(config, base.env, base.policy, base.ppo)
    facts = split.with_states(states).state_facts
    experiment_facts = facts | {"windows": fold.as_text(), "backbone": folder_hash(shared_backbone)}
    finished, shared = open_experiment(sweep_rows, experiment_facts, shared_backbone, trunk_cache, base)
    chosen = chosen_seeds(seeds, seed)
    trainings = []
    for combination in grid:
        settings = replace(base, env=combination.env, policy=combination.policy, ppo=combination.ppo)
        trainings += [
            QueuedTraining(
                name=f"{combination.name}-{chosen_seed}",
                run_name=f"{combination.as_params} seed {chosen_seed}",
                params={**combination.values, "seed": chosen_seed},
                num_updates=combination.ppo.num_updates(len(states)),
                work=partial(_validate, states, fold, chosen_seed, settings, shared, facts),
                report=_report,
            )
            for chosen_seed in chosen
        ]
    rows = train_all("sweep", trainings, finished)
    ranked = rank([(each, rows[at * len(chosen) : (at + 1) * len(chosen)]) for at, each in enumerate(grid)])
    log_metrics({"sweep/best_validation_log_return": ranked[0].median}, 0, int(time.time() * 1000))
    return {
        "key": finished.key,
        "seeds": list(chosen),
        "windows": fold.as_text(),
        "best": ranked[0].params,
        "combinations": [asdict(each) for each in ranked],
        "rows": rows,
    }


def draw_frontier(results: dict[str, Any], split: MarketSplit, base: RunSettings, seed: int) -> go.Figure:
    """Return against risk of every combination on the validation window, beside buy and hold."""
    validation = split.windows.validation
    assert validation is not None, "a sweep has one"
    return plot_frontier(risk_frontier(results, fold_evaluation(split.states, validation, base), seed), results)


def _fold(split: MarketSplit) -> Fold:
    """The run's own windows; of the test window only the dates are known."""
    windows = split.windows
    if windows.validation is None:
        raise ParameterError(
            "a sweep chooses by the validation window, and there is none; set data.windows.validation, and "
            "data.windows.train so that it ends before it"
        )
    return Fold("sweep", windows.train, windows.validation, windows.test)


def _combinations(config: SweepConfig, env: EnvConfig, policy: PolicyConfig, ppo: PPOConfig) -> list[Combination]:
    if not config.grid:
        raise ParameterError(
            "sweep.grid is empty: name what to try, such as kedro run --pipelines=sweep "
            '--params="sweep.grid.ppo.learning_rate=0.001 0.003,sweep.grid.policy.lora_rank=8 16"'
        )
    return combinations(config.grid, env, policy, ppo)


def _validate(
    states: Mapping[str, pl.DataFrame],
    fold: Fold,
    seed: int,
    settings: RunSettings,
    shared: "Shared",
    facts: Mapping[str, Any],
    on_update: OnUpdate,
) -> Row:
    """The row of a training, and what later backtests of the test window must know of it."""
    from flag_kedro.experiments.runs import run_validation
    from flag_kedro.policy.backbone import backbone_hash
    from flag_kedro.policy.bundle import portable_name

    run = run_validation(states, fold, seed, settings, shared, facts=facts, on_update=on_update)
    description = {
        **facts,
        "policy": asdict(settings.policy) | {"backbone": portable_name(settings.policy)},
        "ppo": settings.ppo.learning(),
        "env": settings.env.facts(),
        "windows": fold.as_text(),
        "seed": seed,
    }
    if settings.policy.backbone != TINY:
        assert shared.backbone is not None
        description["backbone_hash"] = backbone_hash(shared.backbone)
    attempt = ValidatedTrial(
        attempt_hash(description, states, _test(fold)), run.validation_sharpes, paths_before(states, _test(fold))
    )
    return asdict(run) | {"attempt": asdict(attempt)}


def _report(row: Row) -> None:
    scores = {
        name.replace("backtest/", "validation/", 1): value
        for name, value in flatten_scores(row["validation_scores"]).items()
    }
    best = {BEST_VALIDATION_LOG_RETURN: row["validation_log_return"]}
    log_metrics(scores | best, 0, int(time.time() * 1000))
    record_attempt(ValidatedTrial.from_json(row["attempt"]), " ".join(row["windows"]["test"]))
    logger.info("seed %d: best log return on validation %+.3f", row["seed"], row["validation_log_return"])


def _test(fold: Fold) -> tuple[str, str]:
    return fold.test[0].isoformat(), fold.test[1].isoformat()
