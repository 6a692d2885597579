"""One training on the windows of a fold, evaluated once on its test window.

Shape legend: n = returns of a symbol's window.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.backtest.benchmark import collapse_of
from flag_kedro.backtest.pooled import pool_accounts, pool_cash
from flag_kedro.backtest.replay import replay
from flag_kedro.backtest.scores import Scores, session_sharpe
from flag_kedro.env.prompt import tokenizer_texts
from flag_kedro.env.window import TradingWindow
from flag_kedro.experiments.carried import CarriedFolder, SeenFolder, node_folder
from flag_kedro.experiments.fan_out import Carry, Packed, Portable
from flag_kedro.experiments.folds import Fold
from flag_kedro.experiments.frontier import validation_log_returns
from flag_kedro.experiments.scoring import (
    RunSettings,
    ScoredRun,
    cut,
    fold_evaluation,
    score_replays,
    score_run,
)
from flag_kedro.experiments.training import run_training
from flag_kedro.names import ALL_SYMBOLS, POLICY, TINY
from flag_kedro.policy.actor_critic import ActorCritic
from flag_kedro.policy.backbone import write_backbone
from flag_kedro.policy.bundle import TrainedPolicy
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.manifest import write_manifest
from flag_kedro.policy.trunk import open_trunk_cache
from flag_kedro.policy.trunk_cache import TrunkCache
from flag_kedro.ppo.checkpoint import Checkpoints
from flag_kedro.ppo.checkpoint_key import open_checkpoints
from flag_kedro.ppo.device import prepare_torch
from flag_kedro.ppo.history import OnUpdate, best_validation, without_wall_times
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.ppo.training_spec import TrainingSpec


@dataclass
class Shared(Portable):
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

    def of(self, name: str) -> "Shared":
        """The same for one of the trainings, which keeps its state in a folder of its own."""
        return self if self.checkpoints is None else replace(self, checkpoints=self.checkpoints / name)

    def packed(self, carry: Carry) -> "PackedShared":
        """Folders for another node; memory stays here."""
        folders = self.trunk_rows, self.checkpoints
        rows, checkpoints = (None if folder is None else carry.seen(folder) for folder in folders)
        backbone = None if self.backbone is None else carry.whole(self.backbone)
        return PackedShared(backbone, rows, checkpoints, self.label)

    def trunk_cache(self, backbone: Path, policy: PolicyConfig, runtime: RuntimeConfig) -> TrunkCache | None:
        """The cache of all trainings on this backbone and split; None for `tiny`, which shares nothing."""
        if policy.backbone == TINY:
            return None
        kind = (
            backbone, policy.frozen_layers, policy.num_layers, policy.dtype, policy.batch_tokens, policy.trunk_cache
        )  # fmt: skip
        if kind not in self._caches:
            self._caches[kind] = open_trunk_cache(backbone, policy, prepare_torch(runtime), self.trunk_rows)
        return self._caches[kind]


@dataclass(frozen=True)
class PackedShared(Packed):
    """What trainings share, on its way to another node."""

    backbone: CarriedFolder | None
    trunk_rows: SeenFolder | None
    checkpoints: SeenFolder | None
    label: str | None

    def unpacked(self) -> Shared:
        """As the node has it: without its driver's folders, rows lie in one of its own, and no state is kept."""
        rows = None if self.trunk_rows is None else self.trunk_rows.here() or node_folder("trunk_rows")
        checkpoints = None if self.checkpoints is None else self.checkpoints.here()
        backbone = None if self.backbone is None else self.backbone.here()
        return Shared(backbone, rows, checkpoints, self.label)


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


@dataclass(frozen=True)
class ValidatedRun:
    """A training scored on the validation window of its fold; saved as JSON in this order."""

    seed: int
    windows: dict[str, list[str] | None]
    """First and last session date of each window, ISO."""
    validation_log_return: float | None
    """Of the weights kept, summed over symbols."""
    validation_scores: dict[str, dict[str, Scores]]
    """By symbol and strategy, in the convention `account`."""
    validation_sharpes: dict[str, float]
    """By symbol, Sharpe ratio per session, 0 where the equity never moves."""
    validation_log_returns: list[float | None]
    """Of all symbols in one account, [n]; None from where it is ruined on."""
    collapsed_to: str | None
    """The constant position that the policy held there, see `collapse.Collapse`."""
    history: list[dict[str, float]]
    """Metrics of every update, without wall times."""


@contextmanager
def trained(
    states: Mapping[str, pl.DataFrame],
    fold: Fold,
    seed: int,
    settings: RunSettings,
    shared: Shared,
    facts: Mapping[str, Any],
    on_update: OnUpdate | None = None,
    floors: Mapping[int, float] | None = None,
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
        floors: below which it is pruned, see `ppo.trainer.train`.
    """
    train = cut(states, fold.train, settings.env)
    validation = cut(states, fold.validation, settings.env) if fold.validation else None
    with _backbone(train, seed, settings, shared) as backbone:
        spec = TrainingSpec(
            backbone, shared.trunk_rows, train, validation, settings.env, settings.policy, settings.ppo,
            settings.runtime, seed, floors=floors or {},
        )  # fmt: skip
        cache = shared.trunk_cache(backbone, settings.policy, settings.runtime)
        training_facts = {**facts, "windows": fold.as_text(), "env": settings.env.facts(), "seed": seed}
        with _checkpoints(training_facts, backbone, settings, shared) as saved:
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
) -> ScoredRun:
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

    Raises:
        TrainingError: when learning cannot go on, see `ppo.trainer.train`.
    """
    data_facts = dict(facts or {})
    with trained(states, fold, seed, settings, shared, data_facts, on_update) as training:
        if bundle is not None:
            training_facts = {"windows": fold.as_text(), "env": settings.env.facts(), "seed": seed}
            bundle_facts = data_facts | training_facts | {"ppo": settings.ppo.learning()}
            TrainedPolicy(training.model, training.backbone, bundle_facts).write(bundle)
            write_manifest(bundle)
        return score_run(states, fold, seed, settings, training.model, training.history)


def run_validation(
    states: Mapping[str, pl.DataFrame],
    fold: Fold,
    seed: int,
    settings: RunSettings,
    shared: Shared,
    *,
    facts: Mapping[str, Any],
    on_update: OnUpdate | None = None,
    floors: Mapping[int, float] | None = None,
) -> ValidatedRun:
    """Train on a fold and score the chosen weights on its validation window; arguments as in `trained`.

    The test window is not read: `states` need not have it.

    Raises:
        TrainingError: when learning cannot go on, see `ppo.trainer.train`.
    """
    assert fold.validation is not None, "what is chosen by validation needs a validation window"
    with trained(states, fold, seed, settings, shared, facts, on_update, floors) as training:
        evaluation = fold_evaluation(states, fold.validation, settings)
        model = training.model
        played = replay(POLICY, evaluation.window, evaluation.env, model.decide, read_ahead=model.read_ahead)
        replays = {POLICY: played}
    equity = replays[POLICY].equity
    cash = evaluation.cash_returns | {ALL_SYMBOLS: pool_cash(equity, evaluation.cash_returns)}
    paths = pl.concat([equity, pool_accounts(equity)]).drop_nulls("log_return").partition_by("symbol", as_dict=True)
    return ValidatedRun(
        seed=seed,
        windows=fold.as_text(),
        validation_log_return=training.validation_log_return,
        validation_scores=score_replays(replays, evaluation),
        validation_sharpes={s: session_sharpe(paths[s,]["log_return"].to_numpy(), cash[s]) for s in cash},
        validation_log_returns=validation_log_returns(equity),
        collapsed_to=collapse_of(played.decisions, long_short=evaluation.long_short).collapsed_to,
        history=training.history,
    )


@contextmanager
def _checkpoints(
    facts: Mapping[str, Any], backbone: Path, settings: RunSettings, shared: Shared
) -> Iterator[Checkpoints | None]:
    """The checkpoints of a training, closed when the block ends; None where nothing is kept."""
    if shared.checkpoints is None:
        yield None
        return
    policy, ppo, runtime = settings.policy, settings.ppo, settings.runtime
    with closing(open_checkpoints(shared.checkpoints, facts, backbone, policy, ppo, runtime, shared.label)) as saved:
        yield saved


@contextmanager
def _backbone(window: TradingWindow, seed: int, settings: RunSettings, shared: Shared) -> Iterator[Path]:
    """Folder of the backbone that a training on `window` starts from."""
    if settings.policy.backbone != TINY:
        assert shared.backbone is not None, "a backbone that is not tiny must be given"
        yield shared.backbone
        return
    with tempfile.TemporaryDirectory() as folder:
        texts = tokenizer_texts(window.prefixes, settings.env.positions)
        write_backbone(settings.policy, texts, seed, Path(folder))
        yield Path(folder)
