"""Training one language-model policy: whoever trains one, node, fold, seed or certificate, does it here."""

from contextlib import closing

from flag_kedro.policy.actor_critic import ActorCritic
from flag_kedro.policy.trunk_cache import TrunkCache
from flag_kedro.ppo.checkpoint import Checkpoints
from flag_kedro.ppo.history import OnUpdate
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
