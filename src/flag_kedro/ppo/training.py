"""Starting the training of a language model, in this process or in several."""

import logging
from collections.abc import Generator
from dataclasses import replace

import torch
from accelerate import Accelerator

from flag_kedro.env.portfolio import holding_texts
from flag_kedro.env.prompt import account_texts, long_paper_texts
from flag_kedro.errors import ParameterError
from flag_kedro.policy.actor_critic import ActorCritic, build_actor_critic
from flag_kedro.policy.trunk import open_trunk_cache
from flag_kedro.policy.trunk_cache import TrunkCache
from flag_kedro.ppo.checkpoint import Checkpoints
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.device import prepare_torch
from flag_kedro.ppo.distributed.processes import train_in_processes
from flag_kedro.ppo.encoding import texts_read_with_prompts
from flag_kedro.ppo.history import Metrics
from flag_kedro.ppo.trainer import train
from flag_kedro.ppo.training_spec import SavedAt, TrainingSpec
from flag_kedro.ppo.volatility_targets import volatility_targets

logger = logging.getLogger(__name__)


def start_training(
    spec: TrainingSpec, checkpoints: Checkpoints | None = None, opened_cache: TrunkCache | None = None
) -> tuple[ActorCritic, Generator[Metrics, None, None]]:
    """Build an actor-critic on the backbone folder and the generator that trains it in place.

    With `ppo.num_processes` or `ppo.num_machines` above 1 other processes train, and the model stays on the CPU.

    Args:
        spec: the training.
        checkpoints: of this training, see `checkpoint_key.open_checkpoints`; None keeps nothing.
        opened_cache: one that other trainings have filled; then `spec.trunk_cache` is not read.

    Returns:
        The model and its training, see `trainer.train`.

    Raises:
        ParameterError: when the device or GPUs that are asked for are missing, or rows of all account texts are to be
            kept and these are endless.
        DataError: when the backbone cannot be used.
    """
    device = prepare_torch(spec.runtime)
    if spec.env.account_view == "paper" and spec.ppo.num_envs == 1:
        logger.info(
            "one account with the paper's view shares no prompt: of the three savings only the trunk cache works"
        )
    if spec.ppo.world_size > 1:
        _check_gpus(device, spec.ppo)
        model = build_model(spec, torch.device("cpu"))
        _log_model_size(model, device, spec.ppo.world_size)
        saved_at = None
        if checkpoints is not None:
            saved_at = SavedAt(str(checkpoints.root.resolve()), checkpoints.key, checkpoints.label)
        return model, train_in_processes(replace(spec, saved_at=saved_at), model, checkpoints)
    model = build_model(spec, device, opened_cache)
    _log_model_size(model, device, 1)
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="no")
    return model, train(
        model, spec.window, spec.validation, spec.env, spec.ppo, spec.seed, accelerator, checkpoints,
        portfolio=spec.portfolio, floors=spec.floors,
    )  # fmt: skip


def build_model(
    spec: TrainingSpec,
    device: torch.device,
    opened_cache: TrunkCache | None = None,
    built_on: torch.device | None = None,
) -> ActorCritic:
    """An untrained actor-critic on the backbone folder.

    Args:
        spec: the training.
        device: where it computes.
        opened_cache: of the trunk; None opens the one that `policy` asks for.
        built_on: where its weights are put first, if they shall get to `device` later.

    Raises:
        ParameterError: when rows of all account texts are to be kept and these are endless.
        DataError: when the backbone cannot be used, or a prompt is longer than it can read.
    """
    cache = opened_cache or open_trunk_cache(spec.backbone, spec.policy, device, spec.trunk_cache)
    model = build_actor_critic(spec.backbone, spec.policy, spec.seed, built_on or device, cache)
    model.top.recomputes = spec.ppo.activation_checkpointing
    texts = texts_read_with_prompts(spec.env, spec.policy, spec.portfolio)
    model.complete_rows(texts)
    _check_lengths(model, spec)
    model.fit_readout([prefix for prefixes in spec.window.prefixes for prefix in prefixes])
    if spec.ppo.volatility_coef > 0.0:
        targets = volatility_targets(spec.window)
        model.add_volatility_head(targets.mean, targets.deviation)
    return model


def _check_lengths(model: ActorCritic, spec: TrainingSpec) -> None:
    """Refuse prompts of the training and validation windows that are too long."""
    if spec.portfolio is None:
        accounts = account_texts(spec.env.account_view, spec.env.positions)
    else:
        accounts = holding_texts(spec.env.positions)
    accounts = accounts or long_paper_texts(spec.env.initial_cash)
    windows = [spec.window] if spec.validation is None else [spec.window, spec.validation]
    prefixes = (prefix for window in windows for symbol in window.prefixes for prefix in symbol)
    model.check_lengths(prefixes, accounts)


def _log_model_size(model: ActorCritic, device: torch.device, num_processes: int) -> None:
    """Log what is going to learn, and where."""
    learning = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    total = sum(weight.numel() for weight in model.parameters())
    where = str(device) if num_processes == 1 else f"{device} in {num_processes} processes"
    logger.info("%s on %s: %s of %s weights learn", model.config.backbone, where, f"{learning:,}", f"{total:,}")


def _check_gpus(device: torch.device, ppo: PPOConfig) -> None:
    """Refuse processes that would have to share a GPU.

    Raises:
        ParameterError: when there are more of them than GPUs.
    """
    if device.type == "cuda" and torch.cuda.device_count() < ppo.num_processes:
        raise ParameterError(
            f"ppo.num_processes is {ppo.num_processes}, but this machine has {torch.cuda.device_count()} CUDA "
            "device(s), each for one process; lower it, or set runtime.device to cpu"
        )
