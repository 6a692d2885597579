"""One update of PPO, or of REINFORCE, from rollout to the last optimizer step.

Shape legend: T = steps, N = accounts, M = T x N states of a rollout, A = accounts per symbol, G = (session, symbol)
groups of a minibatch, which is [G, A], K = states of one forward and backward pass.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from flag_kedro.data.streams import stream
from flag_kedro.env.account import Ints
from flag_kedro.env.states import take_states
from flag_kedro.policy.evaluation_cache import EvaluationCache
from flag_kedro.policy.interface import Evaluation, Policy
from flag_kedro.ppo import losses
from flag_kedro.ppo.actions import ActionHead, state_rows
from flag_kedro.ppo.advantages import rollout_advantages
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.distributed.sharding import Shard
from flag_kedro.ppo.history import EXPLAINED_VARIANCE, Metrics
from flag_kedro.ppo.limits import check_gradient, check_limits
from flag_kedro.ppo.rollout import Rollout, RolloutCollector
from flag_kedro.ppo.statistics import UpdateStatistics, explained_variance
from flag_kedro.ppo.stopwatch import Stopwatch


def ppo_update(
    model: Policy,
    reference: Policy | None,
    optimizer: torch.optim.Optimizer,
    collector: RolloutCollector,
    config: PPOConfig,
    seed: int,
    update: int,
    shard: Shard,
    stopwatch: Stopwatch,
) -> tuple[Rollout, Metrics]:
    """Collect a rollout and change the weights by it (arXiv:1707.06347, with the details of CleanRL's `ppo.py`).

    Args:
        model: the actor-critic that collects and learns.
        reference: the initial policy, if the KL term counts.
        optimizer: of the weights that learn, with this update's step sizes.
        collector: steps the environment.
        config: how to learn; `ppo.algorithm` chooses the policy loss.
        seed: of the order of minibatches.
        update: its number from 0.
        shard: which prompts this process reads; alone it reads all, and nothing is exchanged.
        stopwatch: gets the lap `rollout`.

    Returns:
        The rollout, and metrics of learning: means over all minibatches.

    Raises:
        TrainingError: when a gradient is not finite, or `ppo.max_kl` or `ppo.min_entropy` is crossed.
        PeerLostError: when another process is gone.
    """
    rollout, head = collector.collect(shard.spread(model), config.num_steps), collector.head
    stopwatch.lap("rollout")
    advantages, targets = rollout_advantages(rollout, config)
    old_values, clip_value = rollout.values.flatten(), config.clip_coef if config.clip_vloss else None
    ref_log_probs = _reference_log_probs(reference, rollout, config, shard)
    statistics = UpdateStatistics(
        shard, advantages.device, with_kl=ref_log_probs is not None, with_volatility=rollout.volatility is not None
    )

    for epoch in range(config.update_epochs):
        for minibatch in _minibatches(len(rollout.log_probs), config, seed, update, epoch):
            optimizer.zero_grad()
            statistics.begin_minibatch(minibatch)
            for groups in _passes(minibatch, rollout.states.prefix[:: head.states_per_row], config, shard):
                rows = minibatch[groups].ravel()
                asked, index = state_rows(rows, head), torch.from_numpy(rows).to(advantages.device)
                new = model.evaluate(take_states(rollout.states, asked))
                log_probs = head.log_prob(new, rollout.actions[index])
                log_ratio = log_probs - rollout.log_probs[index]
                if config.algorithm == "reinforce":
                    policy_loss = losses.reinforce_loss(log_probs, advantages[index])
                else:
                    policy_loss = losses.policy_loss(log_ratio, advantages[index], config.clip_coef)
                value_loss = losses.value_loss(head.values(new), old_values[index], targets[index], clip_value)
                entropy = head.entropy(new)
                loss = policy_loss + config.vf_coef * value_loss - config.ent_coef * entropy
                kl = None
                if ref_log_probs is not None:
                    kl = head.kl(new, ref_log_probs[torch.from_numpy(asked).to(advantages.device)])
                    loss = loss + config.kl_coef * kl
                volatility_loss = _volatility_loss(new, rollout, asked, head)
                if volatility_loss is not None:
                    loss = loss + config.volatility_coef * volatility_loss
                (loss.sum() / minibatch.size).backward()  # type: ignore[no-untyped-call]
                statistics.record(
                    groups, policy_loss=policy_loss, value_loss=value_loss, entropy=entropy, kl=kl,
                    volatility_loss=volatility_loss, loss=loss,
                    approx_kl=losses.approximate_kl(log_ratio),
                    clip_fraction=losses.clipped(log_ratio, config.clip_coef),
                )  # fmt: skip
            statistics.end_minibatch()
            shard.all_reduce_gradients(model.parameters())
            grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
            statistics.record_grad_norm(check_gradient(grad_norm, update, epoch))
            optimizer.step()
        if config.target_kl is not None and statistics.recent_approx_kl(len(rollout.log_probs)) > config.target_kl:
            break

    metrics = statistics.means() | {EXPLAINED_VARIANCE: explained_variance(old_values, targets)}
    several = (rollout.states.action_mask.sum(axis=1) > 1).reshape(-1, head.states_per_row).any(axis=1)
    check_limits(shard.spread(model), rollout, head, statistics.entropy_of(several), config, update)
    return rollout, metrics


def _reference_log_probs(reference: Policy | None, rollout: Rollout, config: PPOConfig, shard: Shard) -> Tensor | None:
    """Log-probabilities of the initial policy for each state, [M x K, 3], if it counts."""
    if reference is None:
        return None
    cache, num_states = EvaluationCache(shard.spread(reference)), len(rollout.states)
    pass_size = -(-(config.minibatch_size or num_states) // config.gradient_accumulation_steps)
    size = pass_size * shard.world  # each process reads as much at once as in a pass of a minibatch
    pieces = [range(start, min(start + size, num_states)) for start in range(0, num_states, size)]
    return torch.cat([cache.evaluate(take_states(rollout.states, piece)).log_probs for piece in pieces])


def _volatility_loss(new: Evaluation, rollout: Rollout, asked: Ints, head: ActionHead) -> Tensor | None:
    """Loss of the volatility head, a mean over the states of each row, [R]; None without such a head."""
    if rollout.volatility is None:
        return None
    assert new.volatility is not None, "the policy has no volatility head"
    targets = rollout.volatility[torch.from_numpy(asked).to(rollout.volatility.device)]
    return losses.volatility_loss(new.volatility, targets).view(-1, head.states_per_row).mean(dim=1)


def _minibatches(num_rows: int, config: PPOConfig, seed: int, update: int, epoch: int) -> list[Ints]:
    """Shuffled minibatches of whole groups, each [G, A] rows of the flattened rollout."""
    groups = np.arange(num_rows).reshape(-1, config.num_envs)
    order = stream(seed, "minibatches", update, epoch).permutation(len(groups))
    size = len(groups) if config.minibatch_size is None else config.minibatch_size // config.num_envs
    return [groups[order[start : start + size]] for start in range(0, len(groups), size)]


def _passes(minibatch: Ints, prefixes: Sequence[str], config: PPOConfig, shard: Shard) -> list[Ints]:
    """Groups of a minibatch [G, A] for each forward and backward pass of this process; none where it has no groups."""
    groups = shard.rows_to_read([prefixes[row] for row in minibatch[:, 0]])
    return np.array_split(groups, min(config.gradient_accumulation_steps, len(groups))) if groups.size else []
