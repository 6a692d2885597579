"""The checkpoints of the training that some settings describe."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from flag_kedro.policy.backbone import backbone_hash
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.checkpoint import Checkpoints, training_key
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.device import prepare_torch
from flag_kedro.ppo.runtime import RuntimeConfig, versions


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
        ParameterError: when CUDA is asked for and there is none.
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
