"""Nodes of the sweep pipeline. torch is imported inside, so that listing pipelines stays quick."""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import effective_fill
from flag_kedro.errors import ParameterError
from flag_kedro.experiments.config import SweepConfig, chosen_seeds
from flag_kedro.experiments.folds import Fold
from flag_kedro.experiments.scoring import RunSettings
from flag_kedro.experiments.sweep import Combination, combinations, rank
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.pipelines.backtest.trials import attempt_hash, hashes_before, outside_window
from flag_kedro.pipelines.facts import MarketFacts, check_market, market_facts, state_facts, windows_of
from flag_kedro.pipelines.trainings import OnUpdate, QueuedTraining, Row, do_all, open_experiment
from flag_kedro.policy.config import TINY, PolicyConfig
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.tracking.log import log_metrics
from flag_kedro.tracking.scores import flatten_scores
from flag_kedro.tracking.trials import ValidatedTrial, record_attempt

if TYPE_CHECKING:  # imports torch
    from flag_kedro.experiments.runs import Shared

logger = logging.getLogger(__name__)


def sweep(
    market_states: dict[str, pl.DataFrame],
    found_facts: MarketFacts,
    shared_backbone: Path,
    trunk_cache: Path,
    sweep_rows: Path,
    config: SweepConfig,
    data: DataConfig,
    news: NewsConfig,
    simulated: SimulatedConfig,
    features: FeaturesConfig,
    env: EnvConfig,
    policy: PolicyConfig,
    ppo: PPOConfig,
    runtime: RuntimeConfig,
    seed: int,
    seeds: Any,
) -> dict[str, Any]:
    """Train every combination with every seed and rank them on validation; the test window is never read."""
    check_market(found_facts, market_facts(data, news, simulated, features))
    fold = _fold(market_states, data)
    states = outside_window(market_states, _test(fold))
    actual = replace(env, fill=effective_fill(env.fill, states))
    tried = _combinations(config, actual, policy, ppo)
    facts = state_facts(states, data)
    told = facts | {"windows": fold.as_text(), "backbone": folder_hash(shared_backbone)}
    base = RunSettings(actual, policy, ppo, runtime, facts["calendars"])
    finished, shared = open_experiment(sweep_rows, told, shared_backbone, trunk_cache, base)
    chosen = chosen_seeds(seeds, seed)
    jobs = []
    for combination in tried:
        settings = replace(base, env=combination.env, policy=combination.policy, ppo=combination.ppo)
        jobs += [
            QueuedTraining(
                name=f"{combination.name}-{own}",
                params={**combination.values, "seed": own},
                num_updates=combination.ppo.num_updates(len(states)),
                work=partial(_validate, states, fold, own, settings, shared, facts),
                report=_report,
            )
            for own in chosen
        ]
    rows = do_all("sweep", jobs, finished)
    ranked = rank([(each, rows[at * len(chosen) : (at + 1) * len(chosen)]) for at, each in enumerate(tried)])
    log_metrics({"sweep/best_validation_log_return": ranked[0].median}, 0, int(time.time() * 1000))
    return {
        "key": finished.key,
        "seeds": list(chosen),
        "windows": fold.as_text(),
        "best": ranked[0].params,
        "combinations": [asdict(each) for each in ranked],
        "rows": rows,
    }


def _fold(market_states: Mapping[str, pl.DataFrame], data: DataConfig) -> Fold:
    """The run's own windows; of the test window only the dates are known."""
    windows = windows_of(market_states, data)
    if windows.validation is None:
        raise ParameterError(
            "a sweep chooses by the validation window, and there is none; set data.windows.validation, and "
            "data.windows.train so that it ends before it"
        )
    return Fold("sweep", windows.train, windows.validation, windows.test)


def _combinations(config: SweepConfig, env: EnvConfig, policy: PolicyConfig, ppo: PPOConfig) -> list[Combination]:
    if not config.grid:
        raise ParameterError(
            "sweep.grid is empty: name what to try, such as kedro run --pipeline=sweep "
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
    """The row of `runs.run_validation`, and what later backtests of the test window must know of it."""
    from flag_kedro.experiments.runs import run_validation
    from flag_kedro.policy.backbone import backbone_hash
    from flag_kedro.policy.bundle import portable_name

    row = run_validation(states, fold, seed, settings, shared, facts=facts, on_update=on_update)
    description = {
        **facts,
        "policy": asdict(settings.policy) | {"backbone": portable_name(settings.policy)},
        "ppo": settings.ppo.learning(),
        "env": asdict(settings.env),
        "windows": fold.as_text(),
        "seed": seed,
    }
    if settings.policy.backbone != TINY:
        assert shared.backbone is not None
        description["backbone_hash"] = backbone_hash(shared.backbone)
    attempt = ValidatedTrial(
        attempt_hash(description, states, _test(fold)), row["validation_sharpes"], hashes_before(states, _test(fold))
    )
    return row | {"attempt": asdict(attempt)}


def _report(row: Row) -> None:
    scores = {
        name.replace("backtest/", "validation/", 1): value
        for name, value in flatten_scores(row["validation_scores"]).items()
    }
    best = {"env/best_validation_log_return": row["validation_log_return"]}
    log_metrics(scores | best, 0, int(time.time() * 1000))
    record_attempt(ValidatedTrial(**row["attempt"]), " ".join(row["windows"]["test"]))
    logger.info("seed %d: best log return on validation %+.3f", row["seed"], row["validation_log_return"])


def _test(fold: Fold) -> tuple[str, str]:
    return fold.test[0].isoformat(), fold.test[1].isoformat()
