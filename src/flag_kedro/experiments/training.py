"""Training one language-model policy: whoever trains one, node, fold, seed or certificate, does it here."""

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from flag_kedro.env.window import TradingWindow
from flag_kedro.experiments.scoring import RunSettings
from flag_kedro.policy.actor_critic import ActorCritic
from flag_kedro.policy.trunk_cache import TrunkCache
from flag_kedro.ppo.checkpoint import Checkpoints
from flag_kedro.ppo.launch import start_training

OnUpdate = Callable[[Mapping[str, float]], None]
"""Called with the metrics of each update, wall times included."""


def train_on(
    train: TradingWindow,
    validation: TradingWindow | None,
    backbone: Path,
    settings: RunSettings,
    seed: int,
    *,
    trunk_rows: Path | None = None,
    trunk_cache: TrunkCache | None = None,
    checkpoints: Checkpoints | None = None,
    on_update: OnUpdate | None = None,
) -> tuple[ActorCritic, list[dict[str, float]]]:
    """Train a policy to its end, or go on where the same training was stopped.

    Args:
        train: sessions to learn from.
        validation: sessions that choose the weights; None keeps the last ones.
        backbone: its folder.
        settings: the parameters.
        seed: of every draw.
        trunk_rows: folder of what the trunk says, where `policy.trunk_cache` is `disk`.
        trunk_cache: one that other trainings have filled; then `trunk_rows` is not read.
        checkpoints: of this training, closed at its end, however it ends; None keeps nothing.
        on_update: called after each update.

    Returns:
        The policy with the weights that validated best, or the last ones, and the metrics of every update.

    Raises:
        TrainingError: when learning cannot go on, see `ppo.trainer.train`.
        ParameterError: when the device or processes asked for are not there.
    """
    try:
        model, updates = start_training(
            backbone, train, validation, settings.env, settings.policy, settings.ppo, settings.runtime, seed,
            trunk_rows, checkpoints, trunk_cache,
        )  # fmt: skip
        history = []
        with closing(updates):
            for row in updates:
                history.append(row)
                if on_update is not None:
                    on_update(row)
    finally:
        if checkpoints is not None:
            checkpoints.close()
    return model, history
