"""What one update does with a rollout: PPO's clipped epochs, or REINFORCE's single step.

Shape legend: T = steps, N = accounts, A = accounts per symbol, M = T x N states of a rollout, G = groups of a
minibatch, which is [G, A], K = states of a part of it.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from flag_kedro.data.streams import stream
from flag_kedro.env.account import Ints
from flag_kedro.env.states import take_states
from flag_kedro.errors import TrainingError
from flag_kedro.policy.evaluation_cache import EvaluationCache
from flag_kedro.policy.interface import Policy
from flag_kedro.ppo import losses
from flag_kedro.ppo.advantages import estimate_advantages
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.distributed.sharding import Shard
from flag_kedro.ppo.rollout import Rollout

Metrics = dict[str, float]
TERMS = ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "kl", "loss")
"""What is measured of every state; `kl` only where the initial policy counts."""


@dataclass(frozen=True)
class Learner:
    """A model, its optimizer, and how they learn."""

    model: Policy
    reference: Policy | None
    """The initial policy, if the KL term counts."""
    optimizer: torch.optim.Optimizer
    config: PPOConfig
    seed: int
    accelerator: Accelerator
    shard: Shard
    """Which groups of a minibatch this process reads."""

    def learn(self, rollout: Rollout, update: int) -> Metrics:
        """Change the weights by one rollout, the `update`-th from 0; minibatches are whole (session, symbol) groups.

        Returns:
            Means over all minibatches.

        Raises:
            TrainingError: when a gradient is not finite, or `ppo.max_kl` or `ppo.min_entropy` is crossed.
        """
        advantages, targets = advantages_of(rollout, self.config)
        num_states, ref_log_probs = len(rollout.states), self._reference_log_probs(rollout)
        totals: dict[str, list[float]] = {}
        for epoch in range(self.config.update_epochs):
            for minibatch in _minibatches(num_states, self.config, self.seed, update, epoch):
                self.optimizer.zero_grad()
                for name, term in self._backward(rollout, minibatch, advantages, targets, ref_log_probs).items():
                    totals.setdefault(name, []).extend(term)
                self.shard.add_gradients(self.model.parameters())
                norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
                totals.setdefault("grad_norm", []).append(_finite(norm, update, epoch))
                self.optimizer.step()
            if self.config.target_kl is not None and np.mean(totals["approx_kl"][-num_states:]) > self.config.target_kl:
                break
        metrics = {f"ppo/{name}": float(np.mean(series)) for name, series in totals.items()}
        metrics["ppo/explained_variance"] = explained_variance(rollout.values.flatten(), targets)
        kl = 0.0 if self.config.max_kl is None else self._policy_kl(rollout)
        _refuse_runaway(kl, metrics["ppo/entropy"], self.config, update)
        return metrics

    @torch.no_grad()
    def _policy_kl(self, rollout: Rollout) -> float:
        """Approximate KL between the policy that collected `rollout` and the one after the last step.

        `ppo/approx_kl` would not do: each minibatch is seen before its own step, so an update of a single step always
        shows 0.
        """
        said = EvaluationCache(self.shard.spread(self.model)).evaluate(rollout.states)
        log_ratio = said.log_probs.gather(1, rollout.actions[:, None]).squeeze(1) - rollout.log_probs
        return float(losses.approximate_kl(log_ratio).mean())

    def _reference_log_probs(self, rollout: Rollout) -> Tensor | None:
        """Log-probabilities of the initial policy, [M, 3], if it counts."""
        if self.reference is None:
            return None
        table, num_states = EvaluationCache(self.shard.spread(self.reference)), len(rollout.states)
        part = -(-(self.config.minibatch_size or num_states) // self.config.gradient_accumulation_steps)
        size = part * self.shard.world  # each process reads as much at once as in a part of a minibatch
        pieces = [range(start, min(start + size, num_states)) for start in range(0, num_states, size)]
        return torch.cat([table.evaluate(take_states(rollout.states, piece)).log_probs for piece in pieces])

    def _backward(
        self, rollout: Rollout, minibatch: Ints, advantages: Tensor, targets: Tensor, ref_log_probs: Tensor | None
    ) -> dict[str, list[float]]:
        """Add the gradients of the own groups of a minibatch [G, A]; the terms of all its states in its order."""
        names = [name for name in TERMS if name != "kl" or ref_log_probs is not None]
        found = torch.zeros(len(names), *minibatch.shape, dtype=torch.float64, device=advantages.device)
        own = self.shard.own([rollout.states.prefix[row] for row in minibatch[:, 0]])
        for groups in _parts(own, self.config):
            terms = self._terms(rollout, minibatch[groups].ravel(), advantages, targets, ref_log_probs)
            self.accelerator.backward(terms["loss"].sum() / minibatch.size)
            measured = torch.stack([terms[name].detach() for name in names])
            found[:, torch.from_numpy(groups).to(found.device)] = measured.view(len(names), len(groups), -1).double()
        return dict(zip(names, self.shard.combine(found).flatten(1).tolist(), strict=True))

    def _terms(
        self, rollout: Rollout, rows: Ints, advantages: Tensor, targets: Tensor, ref_log_probs: Tensor | None
    ) -> dict[str, Tensor]:
        """Each term of the loss, the loss itself, and what says how far the policy has moved, all [K]."""
        config, index = self.config, torch.from_numpy(rows).to(advantages.device)
        said = self.model.evaluate(take_states(rollout.states, rows))
        log_probs = said.log_probs.gather(1, rollout.actions[index, None]).squeeze(1)
        log_ratio = log_probs - rollout.log_probs[index]
        old_values, clip_value = rollout.values.flatten()[index], config.clip_coef if config.clip_vloss else None
        if config.algorithm == "reinforce":
            policy_loss = losses.reinforce_loss(log_probs, advantages[index])
        else:
            policy_loss = losses.policy_loss(log_ratio, advantages[index], config.clip_coef)
        terms = {
            "policy_loss": policy_loss,
            "value_loss": losses.value_loss(said.values, old_values, targets[index], clip_value),
            "entropy": losses.entropy(said.log_probs),
            "approx_kl": losses.approximate_kl(log_ratio).detach(),
            "clip_fraction": ((log_ratio.exp() - 1).abs() > config.clip_coef).float(),
        }
        loss = terms["policy_loss"] + config.vf_coef * terms["value_loss"] - config.ent_coef * terms["entropy"]
        if ref_log_probs is not None:
            terms["kl"] = losses.kl_divergence(said.log_probs, ref_log_probs[index])
            loss = loss + config.kl_coef * terms["kl"]
        return terms | {"loss": loss}


def advantages_of(rollout: Rollout, config: PPOConfig) -> tuple[Tensor, Tensor]:
    """Advantages, normalised over the whole rollout if wanted, and value targets, both [M]."""
    next_values = rollout.next_values if config.bootstrap_truncated else rollout.next_values * ~rollout.truncated
    advantages, targets = estimate_advantages(
        rollout.rewards * config.reward_scale, rollout.values, next_values, rollout.terminated, rollout.truncated,
        gamma=config.gamma, gae_lambda=config.gae_lambda,
    )  # fmt: skip
    if config.norm_adv and advantages.numel() > 1:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    return advantages.flatten(), targets.flatten()


def explained_variance(values: Tensor, targets: Tensor) -> float:
    """Share of the targets' variance that the values explain, 1 at best; 0 where targets do not vary. Both [M]."""
    spread = targets.double().var(correction=0)
    return 0.0 if spread == 0 else float(1 - (targets.double() - values.double()).var(correction=0) / spread)


def _minibatches(num_states: int, config: PPOConfig, seed: int, update: int, epoch: int) -> list[Ints]:
    """Shuffled minibatches, each [groups, A] rows of the flattened rollout."""
    groups = np.arange(num_states).reshape(-1, config.num_envs)
    order = stream(seed, "minibatches", update, epoch).permutation(len(groups))
    size = len(groups) if config.minibatch_size is None else config.minibatch_size // config.num_envs
    return [groups[order[start : start + size]] for start in range(0, len(groups), size)]


def _parts(groups: Ints, config: PPOConfig) -> list[Ints]:
    """The groups of each forward and backward pass; none where there are no groups."""
    return np.array_split(groups, min(config.gradient_accumulation_steps, len(groups))) if groups.size else []


def _finite(norm: Tensor | None, update: int, epoch: int) -> float:
    """The gradient's norm; a loss that is not finite shows here too.

    Raises:
        TrainingError: when it is not finite.
    """
    assert norm is not None
    if not math.isfinite(float(norm)):
        raise TrainingError(
            f"the gradient is {float(norm)} at update {update + 1}, epoch {epoch + 1}: training stopped and no policy "
            "was saved. Look at ppo/loss and ppo/grad_norm of the updates before; a lower ppo.learning_rate or "
            "ppo.reward_scale keeps them small"
        )
    return float(norm)


def _refuse_runaway(kl: float, entropy: float, config: PPOConfig, update: int) -> None:
    """Stop where a limit that was asked for is crossed by the update's KL or the mean entropy (nats).

    Raises:
        TrainingError: naming the limit.
    """
    if config.max_kl is not None and kl > config.max_kl:
        raise TrainingError(
            f"the policy moved by a KL divergence of {kl:.3g} in update {update + 1}, ppo.max_kl allows "
            f"{config.max_kl:g}: training stopped and no policy was saved. Lower ppo.learning_rate or "
            "ppo.update_epochs, or end epochs early with ppo.target_kl"
        )
    if config.min_entropy is not None and entropy < config.min_entropy:
        raise TrainingError(
            f"the policy's entropy fell to {entropy:.3g} in update {update + 1}, ppo.min_entropy asks for "
            f"{config.min_entropy:g}: training stopped and no policy was saved. Raise ppo.ent_coef"
        )
