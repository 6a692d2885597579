"""The terms of PPO's objective, each per state so that sums over shards stay exact.

Shape legend: N = states.
"""

import torch
from torch import Tensor


def policy_loss(log_ratio: Tensor, advantages: Tensor, clip_coef: float) -> Tensor:
    """Negative clipped surrogate, equation 7 of arXiv:1707.06347; lower is better, [N]."""
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip_coef, 1 + clip_coef)
    return -torch.minimum(ratio * advantages, clipped * advantages)


def reinforce_loss(log_probs: Tensor, advantages: Tensor) -> Tensor:
    """Williams (1992): minus the log-probability of each action taken times its return above the baseline, [N]."""
    return -log_probs * advantages


def value_loss(values: Tensor, old_values: Tensor, targets: Tensor, clip_coef: float | None) -> Tensor:
    """Half the squared error [N]; with `clip_coef` the larger of it and that of the value whose change is clipped.

    CleanRL's form of equation 20 of arXiv:2502.11433.
    """
    errors = (values - targets) ** 2
    if clip_coef is not None:
        clipped = old_values + (values - old_values).clamp(-clip_coef, clip_coef)
        errors = torch.maximum(errors, (clipped - targets) ** 2)
    return 0.5 * errors


def volatility_loss(forecasts: Tensor, targets: Tensor) -> Tensor:
    """Half the squared error [N]; 0 where there is no target (NaN)."""
    known = ~targets.isnan()
    return 0.5 * torch.where(known, forecasts - targets.nan_to_num(), 0.0) ** 2


def entropy(log_probs: Tensor) -> Tensor:
    """Entropy in nats of masked distributions [N, 3] -> [N]; an impossible action adds 0."""
    possible = log_probs > -torch.inf
    safe = log_probs.masked_fill(~possible, 0.0)
    return -(safe.exp() * safe * possible).sum(dim=-1)


def kl_divergence(log_probs: Tensor, reference: Tensor) -> Tensor:
    """Exact KL(policy || reference) over the legal actions, [N, 3] -> [N]; both have the same mask."""
    possible = log_probs > -torch.inf
    safe = log_probs.masked_fill(~possible, 0.0)
    return (safe.exp() * (safe - reference.masked_fill(~possible, 0.0)) * possible).sum(dim=-1)


def approximate_kl(log_ratio: Tensor) -> Tensor:
    """How far the policy has moved, from the actions that were taken: ratio - 1 - ln(ratio), at least 0, [N].

    Its mean is an estimate of KL(policy that took them || policy now); Schulman's k3 (2020), as in CleanRL.
    """
    return log_ratio.exp() - 1 - log_ratio


def clipped(log_ratio: Tensor, clip_coef: float) -> Tensor:
    """1 where the ratio has left the interval around 1 of half-width `clip_coef`, else 0, [N]."""
    return ((log_ratio.exp() - 1).abs() > clip_coef).float()
