"""Advantage estimation for on-policy rollouts.

Shape legend: T = steps in the rollout, N = accounts stepped in parallel.
"""

import torch
from torch import Tensor


def estimate_advantages(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    *,
    gamma: float,
    gae_lambda: float,
) -> tuple[Tensor, Tensor]:
    """Generalized advantage estimation, equations 11 to 16 of arXiv:1506.02438.

    A terminated step has no future, so nothing is bootstrapped from it. A truncated step (the price window
    ran out) still has one, so its successor is bootstrapped, but the lambda-sum stops there: the next row
    belongs to another episode.

    Args:
        rewards: reward of each step, [T, N].
        values: V(s_t) under the policy that collected the rollout, [T, N].
        next_values: V(s_{t+1}) of the state reached before any reset, [T, N].
        terminated: whether the step ended the MDP itself, bool [T, N].
        truncated: whether the step was cut short from outside, bool [T, N].
        gamma: discount factor in [0, 1].
        gae_lambda: bias-variance trade-off in [0, 1]; 0 is one-step TD, 1 Monte Carlo.

    Returns:
        Advantages and value targets ("returns"), both [T, N] and not normalised.
    """
    deltas = rewards + gamma * next_values * ~terminated - values
    carry = gamma * gae_lambda * ~(terminated | truncated)

    advantages = torch.zeros_like(rewards)
    running = torch.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        running = deltas[t] + carry[t] * running
        advantages[t] = running
    return advantages, advantages + values
