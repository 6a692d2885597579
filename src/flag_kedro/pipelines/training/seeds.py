"""The node that trains and scores every seed of `seeds`."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from flag_kedro.backtest.trials import without_speed
from flag_kedro.env.split import MarketSplit
from flag_kedro.experiments.config import chosen_seeds
from flag_kedro.experiments.folds import Fold
from flag_kedro.experiments.scoring import Row, RunSettings, score_run
from flag_kedro.experiments.seeds import summarise_rows
from flag_kedro.names import TINY
from flag_kedro.pipelines.scored import as_trial, log_scored, train_and_score
from flag_kedro.pipelines.trainings import QueuedTraining, open_experiment, train_all
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.ppo.history import OnUpdate

if TYPE_CHECKING:  # imports torch
    from flag_kedro.experiments.runs import Shared


def run_seeds(
    split: MarketSplit,
    backbone: Path,
    bundle: Path,
    training_history: list[dict[str, float]],
    trunk_cache: Path,
    seed_rows: Path,
    settings: RunSettings,
    seeds: Any,
) -> dict[str, Any]:
    """Train every further seed on the run's windows, score all on its test window; nothing at all without `seeds`.

    The first seed is the policy that was just trained, so it is only scored. Stopped here, `--from-nodes=run_seeds`
    goes on without training that one anew.
    """
    if seeds is None:
        return {}
    from flag_kedro.policy.bundle import check_facts, read_description

    first, *others = chosen_seeds(seeds, 0)
    description = read_description(bundle)
    trained = description | {"policy": without_speed(description["policy"])}
    check_facts(trained, split.facts | _training_facts(settings, first))
    windows = split.windows
    fold = Fold("run", windows.train, windows.validation, windows.test)
    backbone_facts = {} if settings.policy.backbone == TINY else {"backbone": folder_hash(backbone)}
    finished, shared = open_experiment(seed_rows, split.facts | backbone_facts, backbone, trunk_cache, settings)
    works = {first: partial(_score, split.states, fold, first, settings, shared, bundle, training_history)} | {
        seed: partial(train_and_score, split.states, fold, seed, settings, shared, split.state_facts) for seed in others
    }
    num_updates = settings.ppo.num_updates(len(split.states))
    trainings = [
        QueuedTraining(
            name=f"{fold.name}-{seed}",
            run_name=f"train seed {seed}",
            params={"seed": seed},
            num_updates=num_updates,
            work=work,
            report=log_scored,
            here=seed == first,
        )
        for seed, work in works.items()
    ]
    rows = train_all("seeds", trainings, finished, settings.runtime)
    summary = {symbol: asdict(scores) for symbol, scores in summarise_rows(rows).items()}
    return {"key": finished.key, "seeds": [first, *others], "summary": summary, "rows": rows}


def _training_facts(settings: RunSettings, seed: int) -> dict[str, Any]:
    """What the bundle of a training with these settings says of it, as far as results depend on it."""
    from flag_kedro.policy.bundle import portable_name

    policy = without_speed(asdict(settings.policy) | {"backbone": portable_name(settings.policy)})
    return {"seed": seed, "ppo": settings.ppo.learning(), "policy": policy}


def _score(
    states: Mapping[str, pl.DataFrame],
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
    return as_trial(score_run(states, fold, seed, settings, model, history), states, fold, settings, bundle)
