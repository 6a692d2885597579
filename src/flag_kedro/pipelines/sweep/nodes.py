"""Nodes of the sweep pipeline. torch is imported inside, so that listing pipelines stays quick."""

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from flag_kedro.backtest.trials import outside_window
from flag_kedro.env.split import MarketSplit
from flag_kedro.errors import ParameterError
from flag_kedro.experiments.config import SweepConfig, chosen_seeds
from flag_kedro.experiments.folds import Fold
from flag_kedro.experiments.frontier import risk_frontier
from flag_kedro.experiments.frontier_plot import plot_frontier
from flag_kedro.experiments.scoring import RunSettings, fold_evaluation
from flag_kedro.experiments.search_space import open_space, search_facts
from flag_kedro.experiments.sweep import combinations, rank
from flag_kedro.pipelines.sweep.trainings import SweepTrainings, dates_of_test
from flag_kedro.pipelines.trainings import open_experiment
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.tracking.log import log_metrics


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
    """Train combinations with every seed and rank them on validation; the test window is never read."""
    fold = _fold(split)
    _require_grid(config)
    states = outside_window(split.states, dates_of_test(fold))
    facts = split.with_states(states).state_facts
    chosen = chosen_seeds(seeds, seed)
    experiment_facts = facts | {"windows": fold.as_text(), "backbone": folder_hash(shared_backbone)}
    if config.sampler != "grid":
        experiment_facts |= {"search": search_facts(config, seed), "seeds": list(chosen)}
    finished, shared = open_experiment(sweep_rows, experiment_facts, shared_backbone, trunk_cache, base)
    trainings = SweepTrainings(states, fold, base, chosen, facts, shared, finished)
    results = _try_grid(config, trainings) if config.sampler == "grid" else _search(config, trainings, seed)
    best = results["combinations"][0]
    log_metrics({"sweep/best_validation_log_return": best["validation_log_return"]["median"]}, 0, _now())
    facts_of_run = {"key": finished.key, "seeds": list(chosen), "windows": fold.as_text(), "best": best["params"]}
    return facts_of_run | results


def _try_grid(config: SweepConfig, trainings: SweepTrainings) -> dict[str, Any]:
    """All of the grid, ranked, and the rows of its trainings."""
    base = trainings.base
    grid = combinations(config.grid, base.env, base.policy, base.ppo)
    rows = trainings.train("sweep", grid, {})
    ranked = rank(list(zip(grid, rows, strict=True)))
    return {"combinations": [asdict(each) for each in ranked], "rows": [row for each in rows for row in each]}


def _search(config: SweepConfig, trainings: SweepTrainings, seed: int) -> dict[str, Any]:
    """What a sampler proposed, ranked, the rows of its trainings, and how the search went."""
    from flag_kedro.experiments.fan_out import kept_engine
    from flag_kedro.experiments.search import Search, rank_trials, summarise
    from flag_kedro.experiments.search_storage import open_study

    base, finished = trainings.base, trainings.finished
    space = open_space(config, base.env, base.policy, base.ppo)
    study = open_study(finished.folder, f"sweep-{finished.key}", config.storage)
    search = Search(space, config, seed, study)
    with kept_engine(base.runtime):
        trials = search.run(replace(trainings, keep_failed=True).train)
    return {"combinations": rank_trials(trials), "rows": search.rows(), "search": summarise(search, trials)}


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


def _require_grid(config: SweepConfig) -> None:
    if not config.grid and config.sampler == "grid":
        raise ParameterError(
            "sweep.grid is empty: name what to try, such as kedro run --pipelines=sweep "
            '--params="sweep.grid.ppo.learning_rate=0.001 0.003,sweep.grid.policy.lora_rank=8 16"'
        )


def _now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)
