"""Adam with a step size for the backbone and one for the heads, and its memory as named tensors."""

from typing import Any

import torch
from torch import Tensor

from flag_kedro.policy.interface import Policy
from flag_kedro.ppo.config import PPOConfig

ADAM_EPS = 1e-5


def make_optimizer(model: Policy, config: PPOConfig) -> torch.optim.Optimizer:
    """Adam over all weights that learn, at `ppo.learning_rate` and `ppo.head_learning_rate`."""
    return torch.optim.Adam(_parameter_groups(model, config), eps=ADAM_EPS)


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set each group's step size to `factor` times its initial one."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Copies of what Adam remembers, by `INDEX.NAME` of each weight."""
    by_weight = optimizer.state_dict()["state"]
    return {f"{index}.{name}": tensor.clone() for index, state in by_weight.items() for name, tensor in state.items()}


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Let Adam remember what `optimizer_tensors` gave."""
    by_weight: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".")
        by_weight.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": by_weight})


def _parameter_groups(model: Policy, config: PPOConfig) -> list[dict[str, Any]]:
    """The backbone's weights that learn and the heads', each with its own step size."""
    heads = {id(weight) for weight in model.heads.parameters()}
    top = [weight for weight in model.parameters() if weight.requires_grad and id(weight) not in heads]
    rates = config.learning_rate, config.head_learning_rate or config.learning_rate
    return [
        {"params": weights, "initial_lr": rate, "lr": rate}
        for weights, rate in zip((top, list(model.heads.parameters())), rates, strict=True)
    ]
