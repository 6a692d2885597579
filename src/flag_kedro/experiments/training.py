"""Training one policy: whoever trains one, node, fold, seed, certificate or audit, does it here.

Which windows a run fits, trains and chooses on is decided here too: the training and the validation window, never the
test window.
"""

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from flag_kedro.env.prompt import tokenizer_texts
from flag_kedro.env.split import MarketSplit
from flag_kedro.experiments.scoring import RunSettings
from flag_kedro.policy.actor_critic import ActorCritic
from flag_kedro.policy.bag_of_words import BagOfWordsPolicy
from flag_kedro.policy.trunk_cache import TrunkCache
from flag_kedro.ppo.checkpoint import Checkpoints
from flag_kedro.ppo.history import Metrics, OnUpdate
from flag_kedro.ppo.text_baseline import start_bag_of_words
from flag_kedro.ppo.training import start_training
from flag_kedro.ppo.training_spec import TrainingSpec


def run_training(
    spec: TrainingSpec,
    *,
    trunk_cache: TrunkCache | None = None,
    checkpoints: Checkpoints | None = None,
    on_update: OnUpdate | None = None,
) -> tuple[ActorCritic, list[dict[str, float]]]:
    """Train a policy to its end, or go on where the same training was stopped.

    Args:
        spec: what to train, from which windows.
        trunk_cache: one that other trainings have filled; then `spec.trunk_cache` is not read.
        checkpoints: of this training, for the caller to close; None keeps nothing.
        on_update: called after each update.

    Returns:
        The policy with the weights that validated best, or the last ones, and the metrics of every update.

    Raises:
        TrainingError: when learning cannot go on, see `ppo.trainer.train`.
        ParameterError: when the device or processes asked for are not there.
    """
    model, updates = start_training(spec, checkpoints, trunk_cache)
    history = []
    with closing(updates):
        for row in updates:
            history.append(row)
            if on_update is not None:
                on_update(row)
    return model, history


def tokenizer_prompts(split: MarketSplit) -> list[str]:
    """Prompts of the training window, from which the tiny tokenizer learns."""
    return tokenizer_texts(split.train.prefixes, split.env.positions)


def training_spec(
    split: MarketSplit, backbone: Path, trunk_cache: Path | None, settings: RunSettings, seed: int
) -> TrainingSpec:
    """A run's training: on the training window, with the weights that the validation window chooses.

    Args:
        split: the market.
        backbone: folder of the backbone.
        trunk_cache: folder of what the trunk said, where `policy.trunk_cache` is `disk`.
        settings: parameters.
        seed: of every random draw.
    """
    return TrainingSpec(
        backbone, trunk_cache, split.train, split.validation, settings.env, settings.policy, settings.ppo,
        settings.runtime, seed,
    )  # fmt: skip


def text_baseline_training(
    split: MarketSplit, settings: RunSettings, seed: int
) -> tuple[BagOfWordsPolicy, Generator[Metrics, None, None]]:
    """The bag-of-words policy and its training on the same windows, see `ppo.text_baseline`."""
    return start_bag_of_words(split.train, split.validation, split.env, settings.ppo, settings.runtime, seed)
