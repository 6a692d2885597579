"""Preparing torch for a run, and starting a training in this process or in several."""

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from flag_kedro.env.config import EnvConfig
from flag_kedro.env.prompt import compact_account_texts
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import ParameterError
from flag_kedro.policy.actor_critic import ActorCritic, build_actor_critic
from flag_kedro.policy.backbone import backbone_hash
from flag_kedro.policy.bag_of_words import BagOfWordsPolicy, build_bag_of_words
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.trunk import open_trunk_cache
from flag_kedro.policy.trunk_cache import TrunkCache
from flag_kedro.ppo.checkpoint import Checkpoints, training_key
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.distributed.processes import train_in_processes
from flag_kedro.ppo.distributed.training_spec import SavedAt, TrainingSpec
from flag_kedro.ppo.learner import Metrics
from flag_kedro.ppo.runtime import RuntimeConfig, versions
from flag_kedro.ppo.trainer import train

logger = logging.getLogger(__name__)

BAG_LEARNING_RATE, BAG_ENT_COEF = 5e-3, 0.1
"""PPO's settings for a linear policy: it needs larger steps, and more entropy against noise learned by heart. Chosen
on the validation windows of three simulated markets."""


def prepare_torch(runtime: RuntimeConfig) -> torch.device:
    """Fix threads and deterministic kernels, and choose the device.

    Raises:
        ParameterError: when CUDA is asked for and there is none.
    """
    torch.set_num_threads(runtime.threads)
    if runtime.device == "cuda" and not torch.cuda.is_available():
        raise ParameterError("runtime.device is cuda, but torch finds no CUDA device; use auto or cpu")
    use_cuda = runtime.device != "cpu" and torch.cuda.is_available()
    torch.use_deterministic_algorithms(True, warn_only=use_cuda)
    return torch.device("cuda" if use_cuda else "cpu")


def start_training(
    backbone: Path,
    window: TradingWindow,
    validation: TradingWindow | None,
    env: EnvConfig,
    policy: PolicyConfig,
    ppo: PPOConfig,
    runtime: RuntimeConfig,
    seed: int,
    trunk_cache: Path | None = None,
    checkpoints: Checkpoints | None = None,
    opened_cache: TrunkCache | None = None,
) -> tuple[ActorCritic, Generator[Metrics, None, None]]:
    """Build an actor-critic on the backbone folder and the generator that trains it in place.

    With `ppo.num_processes` or `ppo.num_machines` above 1 other processes train, and the model stays on the CPU.
    `trunk_cache` is the folder for what the trunk says, where `policy.trunk_cache` is `disk`; `checkpoints` are
    those of this training, see `open_checkpoints`; `opened_cache` is one that other trainings have filled, and then
    `trunk_cache` is not read.
    """
    device = prepare_torch(runtime)
    if env.account_view == "paper" and ppo.num_envs == 1:
        logger.info(
            "one account with the paper's view shares no prompt: of the three savings only the trunk cache works"
        )
    if ppo.world_size > 1:
        _check_gpus(device, ppo)
        model = build_model(backbone, env, policy, seed, torch.device("cpu"), trunk_cache)
        log_model_size(model, device, ppo.world_size)
        saved_at = None
        if checkpoints is not None:
            saved_at = SavedAt(str(checkpoints.root.resolve()), checkpoints.key, checkpoints.label)
        job = TrainingSpec(backbone, trunk_cache, window, validation, env, policy, ppo, runtime, seed, saved_at)
        return model, train_in_processes(job, model, checkpoints)
    model = build_model(backbone, env, policy, seed, device, trunk_cache, opened_cache)
    log_model_size(model, device, 1)
    accelerator = Accelerator(cpu=device.type == "cpu")
    return model, train(model, window, validation, env, ppo, seed, accelerator, checkpoints)


def build_model(
    backbone: Path,
    env: EnvConfig,
    policy: PolicyConfig,
    seed: int,
    device: torch.device,
    trunk_cache: Path | None,
    opened_cache: TrunkCache | None = None,
    place: torch.device | None = None,
) -> ActorCritic:
    """An untrained actor-critic on the backbone folder, with the opened trunk cache or the one `policy` asks for.

    It is put on `place` where it shall get to `device` later, else on `device`.
    """
    cache = opened_cache or open_trunk_cache(backbone, policy, device, trunk_cache)
    model = build_actor_critic(backbone, policy, seed, place or device, cache)
    if policy.trunk_cache == "disk":
        model.complete_rows(closed_account_texts(env))
    return model


def log_model_size(model: ActorCritic, device: torch.device, num_processes: int) -> None:
    """Log what is going to learn, and where."""
    learning = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    total = sum(weight.numel() for weight in model.parameters())
    place = str(device) if num_processes == 1 else f"{device} in {num_processes} processes"
    logger.info("%s on %s: %s of %s weights learn", model.config.backbone, place, f"{learning:,}", f"{total:,}")


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


def open_checkpoints(
    root: Path,
    facts: Mapping[str, Any],
    backbone: Path,
    policy: PolicyConfig,
    ppo: PPOConfig,
    runtime: RuntimeConfig,
    label: str | None,
) -> Checkpoints:
    """The checkpoints of the training with these settings, named by all that its bits depend on.

    Args:
        root: folder of all trainings.
        facts: of data and environment, and the seed, fit for JSON.
        backbone: its folder.
        policy: the policy's parameters.
        ppo: the learner's.
        runtime: device and threads.
        label: of the run that trains, kept with each checkpoint.

    Raises:
        CheckpointError: when another process is at the same training.
    """
    device = prepare_torch(runtime)
    cpu = {"threads": torch.get_num_threads(), "instructions": torch.backends.cpu.get_cpu_capability()}
    key = training_key(
        {
            "facts": facts,
            "backbone": backbone_hash(backbone),
            "policy": asdict(policy),
            "ppo": ppo.learning(),
            "device": cpu if device.type == "cpu" else torch.cuda.get_device_name(device),
            "versions": versions(),
        }
    )
    return Checkpoints(root, key, label, resume=ppo.resume == "auto")


def start_encoding(
    backbone: Path,
    prefixes: Sequence[str],
    env: EnvConfig,
    policy: PolicyConfig,
    runtime: RuntimeConfig,
    trunk_cache: Path,
) -> Iterator[int]:
    """Fill the folder of the trunk cache with a row for each of `prefixes`, yielding how many are done.

    Raises:
        ParameterError: when account texts have no closed vocabulary.
    """
    device = prepare_torch(runtime)
    model = build_actor_critic(backbone, policy, 0, device, open_trunk_cache(backbone, policy, device, trunk_cache))
    model.complete_rows(closed_account_texts(env))
    return model.encode(list(dict.fromkeys(prefixes)))


def closed_account_texts(env: EnvConfig) -> list[str]:
    """All texts that accounts can have.

    Raises:
        ParameterError: when they are endless.
    """
    if env.account_view != "compact":
        raise ParameterError(
            f"policy.trunk_cache=disk keeps every prompt with all account texts, but with env.account_view="
            f"{env.account_view} they are endless; set env.account_view to compact, or policy.trunk_cache to ram"
        )
    return compact_account_texts(env.positions)


def start_bag_of_words(
    window: TradingWindow,
    validation: TradingWindow | None,
    env: EnvConfig,
    ppo: PPOConfig,
    runtime: RuntimeConfig,
    seed: int,
) -> tuple[BagOfWordsPolicy, Generator[Metrics, None, None]]:
    """Build a bag-of-words policy on the words of `window` and the generator that trains it in place.

    It learns by the run's `ppo`, with the same budget and seed, but for step size and entropy (above), without gradient
    accumulation, which only saves memory, without limits, which are meant for the language model, and on one thread,
    since its sums are too short to share.
    """
    device = prepare_torch(replace(runtime, threads=1))
    texts = [prefix for prefixes in window.prefixes for prefix in prefixes]
    model = build_bag_of_words(texts, compact_account_texts(env.positions)).to(device)
    logger.info("bag of words on %s: %d words and pairs of words", device, len(model.words))
    config = replace(
        ppo,
        learning_rate=BAG_LEARNING_RATE,
        head_learning_rate=None,
        ent_coef=BAG_ENT_COEF,
        gradient_accumulation_steps=1,
        max_kl=None,
        min_entropy=None,
    )
    accelerator = Accelerator(cpu=device.type == "cpu")
    return model, train(model, window, validation, env, config, seed, accelerator)
