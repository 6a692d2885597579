"""One training on the windows of a fold, evaluation once on its test window.

Shape legend: n = returns of a symbol's window.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.backtest.replay import replay
from flag_kedro.backtest.scores import session_sharpe
from flag_kedro.env.prompt import tokenizer_texts
from flag_kedro.env.window import TradingWindow
from flag_kedro.experiments.folds import Fold
from flag_kedro.experiments.scoring import (
    Row,
    RunSettings,
    cut,
    describe_run,
    fold_evaluation,
    score_replays,
)
from flag_kedro.experiments.training import OnUpdate, run_training
from flag_kedro.names import POLICY, TINY
from flag_kedro.policy.actor_critic import ActorCritic
from flag_kedro.policy.backbone import write_backbone
from flag_kedro.policy.bundle import TrainedPolicy
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.manifest import write_manifest
from flag_kedro.policy.trunk import open_trunk_cache
from flag_kedro.policy.trunk_cache import TrunkCache
from flag_kedro.ppo.checkpoint_key import open_checkpoints
from flag_kedro.ppo.device import prepare_torch
from flag_kedro.ppo.history import best_validation, without_wall_times
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.ppo.training_spec import TrainingSpec


@dataclass
class Shared:
    """Folders and memory that trainings share.

    A backbone that was trained by others is the same for all of them, and so is what its trunk says: kept in
    `trunk_rows`, or in memory. `tiny` learns its tokenizer from a fold's training prompts and draws its weights from
    the seed, so that each training builds its own.
    """

    backbone: Path | None = None
    """Folder of the backbone; not read for `tiny`."""
    trunk_rows: Path | None = None
    """Folder of what the trunk says, where `policy.trunk_cache` is `disk`."""
    checkpoints: Path | None = None
    """Where a training keeps its state; None keeps nothing."""
    label: str | None = None
    """Of the run that trains, kept with each checkpoint."""
    _caches: dict[tuple[Any, ...], TrunkCache | None] = field(default_factory=dict)

    def trunk_cache(self, backbone: Path, policy: PolicyConfig, runtime: RuntimeConfig) -> TrunkCache | None:
        """The cache of all trainings on this backbone and split; None for `tiny`, which shares nothing."""
        if policy.backbone == TINY:
            return None
        kind = (backbone, policy.frozen_layers, policy.dtype, policy.batch_tokens, policy.trunk_cache)
        if kind not in self._caches:
            self._caches[kind] = open_trunk_cache(backbone, policy, prepare_torch(runtime), self.trunk_rows)
        return self._caches[kind]


@dataclass(frozen=True)
class Training:
    """A finished training."""

    model: ActorCritic
    """With the weights that validated best, or the last ones without a validation window."""
    backbone: Path
    history: list[dict[str, float]]
    """Metrics of every update, without wall times."""

    @property
    def validation_log_return(self) -> float | None:
        """Of the weights kept, summed over symbols."""
        return best_validation(self.history)


@contextmanager
def trained(
    states: Mapping[str, pl.DataFrame],
    fold: Fold,
    seed: int,
    settings: RunSettings,
    shared: Shared,
    facts: Mapping[str, Any],
    on_update: OnUpdate | None = None,
) -> Iterator[Training]:
    """Train on the fold's training window, choose by its validation window; the test window is not read.

    Args:
        states: market states; those of the test window may be missing.
        fold: the windows.
        seed: of every draw.
        settings: the parameters.
        shared: what trainings share.
        facts: of the data, by which a stopped training is known again.
        on_update: called with the metrics of each update, wall times included.
    """
    train = cut(states, fold.train, settings.env)
    validation = cut(states, fold.validation, settings.env) if fold.validation else None
    with _backbone(train, seed, settings, shared) as backbone:
        known = {**facts, "windows": fold.as_text(), "env": asdict(settings.env), "seed": seed}
        saved = None
        if shared.checkpoints is not None:
            saved = open_checkpoints(
                shared.checkpoints, known, backbone, settings.policy, settings.ppo, settings.runtime, shared.label
            )
        spec = TrainingSpec(
            backbone, shared.trunk_rows, train, validation, settings.env, settings.policy, settings.ppo,
            settings.runtime, seed,
        )  # fmt: skip
        cache = shared.trunk_cache(backbone, settings.policy, settings.runtime)
        model, history = run_training(spec, trunk_cache=cache, checkpoints=saved, on_update=on_update)
        yield Training(model, backbone, [without_wall_times(row) for row in history])


def run_fold(
    states: Mapping[str, pl.DataFrame],
    fold: Fold,
    seed: int,
    settings: RunSettings,
    shared: Shared,
    *,
    facts: Mapping[str, Any] | None = None,
    bundle: Path | None = None,
    on_update: OnUpdate | None = None,
) -> Row:
    """Train on a fold and replay its test window once.

    Args:
        states: market states.
        fold: the windows.
        seed: of every draw.
        settings: the parameters.
        shared: what trainings share.
        facts: of the data, for checkpoints and the bundle.
        bundle: an empty folder that gets the trained policy; None keeps none.
        on_update: called with the metrics of each update, wall times included.

    Returns:
        What `describe_run` says.
    """
    known = dict(facts or {})
    with trained(states, fold, seed, settings, shared, known, on_update) as training:
        if bundle is not None:
            own = {"windows": fold.as_text(), "env": asdict(settings.env), "seed": seed}
            TrainedPolicy(training.model, training.backbone, known | own | {"ppo": settings.ppo.learning()}).write(
                bundle
            )
            write_manifest(bundle)
        return describe_run(states, fold, seed, settings, training.model.decide, training.history)


def run_validation(
    states: Mapping[str, pl.DataFrame],
    fold: Fold,
    seed: int,
    settings: RunSettings,
    shared: Shared,
    *,
    facts: Mapping[str, Any],
    on_update: OnUpdate | None = None,
) -> Row:
    """Train on a fold and score the chosen weights on its validation window; arguments as in `run_fold`.

    The test window is not read: `states` need not have it.

    Returns:
        A row fit for JSON: `seed`, `windows`, `validation_log_return` (summed over symbols), `validation_scores`
        (symbol -> strategy -> scores), `validation_sharpes` (symbol -> Sharpe ratio per session, 0 where the equity
        never moves) and `history`.
    """
    assert fold.validation is not None, "what is chosen by validation needs a validation window"
    with trained(states, fold, seed, settings, shared, facts, on_update) as training:
        evaluation = fold_evaluation(states, fold.validation, settings)
        replays = {POLICY: replay(POLICY, evaluation.window, evaluation.env, training.model.decide)}
    returns = {
        str(s): own["log_return"][1:].to_numpy()
        for (s,), own in replays[POLICY].equity.group_by("symbol", maintain_order=True)
    }
    return {
        "seed": seed,
        "windows": fold.as_text(),
        "validation_log_return": training.validation_log_return,
        "validation_scores": score_replays(replays, evaluation),
        "validation_sharpes": {s: session_sharpe(returns[s], cash) for s, cash in evaluation.cash_returns.items()},
        "history": training.history,
    }


@contextmanager
def _backbone(window: TradingWindow, seed: int, settings: RunSettings, shared: Shared) -> Iterator[Path]:
    """Folder of the backbone that a training on `window` starts from."""
    if settings.policy.backbone != TINY:
        assert shared.backbone is not None, "a backbone that is not tiny must be given"
        yield shared.backbone
        return
    with tempfile.TemporaryDirectory() as own:
        texts = tokenizer_texts(window.prefixes, settings.env.positions)
        write_backbone(settings.policy, texts, seed, Path(own))
        yield Path(own)
