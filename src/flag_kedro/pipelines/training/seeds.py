"""The node that trains and scores every seed of `seeds`."""

import logging
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from flag_kedro.data.config import DataConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import effective_fill
from flag_kedro.experiments.config import chosen_seeds
from flag_kedro.experiments.folds import Fold
from flag_kedro.experiments.scoring import RunSettings, describe_run
from flag_kedro.experiments.seeds import summarise_rows
from flag_kedro.pipelines.backtest.trials import without_speed
from flag_kedro.pipelines.facts import training_facts, windows_of
from flag_kedro.pipelines.scored import as_trial, log_scored, train_and_score
from flag_kedro.pipelines.trainings import OnUpdate, QueuedTraining, Row, do_all, open_experiment
from flag_kedro.policy.config import TINY, PolicyConfig
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig

if TYPE_CHECKING:  # imports torch
    from flag_kedro.experiments.runs import Shared

logger = logging.getLogger(__name__)


def run_seeds(
    market_states: dict[str, pl.DataFrame],
    backbone: Path,
    bundle: Path,
    training_history: list[dict[str, float]],
    trunk_cache: Path,
    seed_rows: Path,
    data: DataConfig,
    env: EnvConfig,
    policy: PolicyConfig,
    ppo: PPOConfig,
    runtime: RuntimeConfig,
    seeds: Any,
) -> dict[str, Any]:
    """Train every further seed on the run's windows, score all on its test window; nothing at all without `seeds`.

    The first seed is the policy that was just trained, so it is only scored. Stopped here, `--from-nodes=run_seeds`
    goes on without training that one anew.
    """
    if seeds is None:
        return {}
    from flag_kedro.policy.bundle import check_facts, portable_name, read_description

    first, *others = chosen_seeds(seeds, 0)
    facts = training_facts(market_states, data, env)
    own = without_speed(asdict(policy) | {"backbone": portable_name(policy)})
    description = read_description(bundle)
    trained = description | {"policy": without_speed(description["policy"])}
    check_facts(trained, facts | {"seed": first, "ppo": ppo.learning(), "policy": own})
    windows = windows_of(market_states, data)
    fold = Fold("run", windows.train, windows.validation, windows.test)
    actual = replace(env, fill=effective_fill(env.fill, market_states))
    settings = RunSettings(actual, policy, ppo, runtime, facts["calendars"])
    known = facts if policy.backbone == TINY else facts | {"backbone": folder_hash(backbone)}
    finished, shared = open_experiment(seed_rows, known, backbone, trunk_cache, settings)
    states = {name: facts[name] for name in ("symbols", "calendars", "data_hash")}
    works = {first: partial(_score, market_states, fold, first, settings, shared, bundle, training_history)} | {
        seed: partial(train_and_score, market_states, fold, seed, settings, shared, states) for seed in others
    }
    num_updates = ppo.num_updates(len(market_states))
    jobs = [
        QueuedTraining(f"{fold.name}-{seed}", {"seed": seed}, num_updates, work, log_scored)
        for seed, work in works.items()
    ]
    rows = do_all("seeds", jobs, finished)
    return {"key": finished.key, "seeds": [first, *others], "summary": summarise_rows(rows), "rows": rows}


def _score(
    states: dict[str, pl.DataFrame],
    fold: Fold,
    seed: int,
    settings: RunSettings,
    shared: "Shared",
    bundle: Path,
    history: list[dict[str, float]],
    on_update: OnUpdate,
) -> Row:
    """The row of the policy in `bundle`, which was trained before."""
    from flag_kedro.policy.bundle import load_policy
    from flag_kedro.ppo.device import prepare_torch

    for update in history:
        on_update(update)
    assert shared.backbone is not None
    device = prepare_torch(settings.runtime)
    cache = shared.trunk_cache(shared.backbone, settings.policy, settings.runtime)
    model = load_policy(bundle, shared.backbone, device, cache)
    return as_trial(describe_run(states, fold, seed, settings, model.decide, history), states, fold, settings, bundle)
