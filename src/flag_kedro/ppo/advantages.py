"""Advantage estimation for on-policy rollouts.

Shape legend: T = steps in the rollout, N = accounts stepped in parallel, M = T x N states of the rollout.
"""

import torch
from torch import Tensor

from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.rollout import Rollout


def rollout_advantages(rollout: Rollout, config: PPOConfig) -> tuple[Tensor, Tensor]:
    """Advantages, normalised over the whole rollout with `ppo.norm_adv`, and value targets ("returns"), both [M].

    Rewards are scaled by `ppo.reward_scale`; without `ppo.bootstrap_truncated` a truncated episode has no future.
    """
    next_values = rollout.next_values if config.bootstrap_truncated else rollout.next_values * ~rollout.truncated
    advantages, targets = estimate_advantages(
        rollout.rewards * config.reward_scale, rollout.values, next_values, rollout.terminated, rollout.truncated,
        gamma=config.gamma, gae_lambda=config.gae_lambda,
    )  # fmt: skip
    if config.norm_adv and advantages.numel() > 1:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    return advantages.flatten(), targets.flatten()


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
