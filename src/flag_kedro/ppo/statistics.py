"""What is reported of an update: means over its minibatches, and diagnostics of its rollout.

Shape legend: M = states of a rollout, G = groups of a minibatch, A = accounts of a group, K = states of a pass.
"""

import math

import numpy as np
import torch
from torch import Tensor

from flag_kedro.env.account import Bools, Ints
from flag_kedro.ppo.actions import ActionHead
from flag_kedro.ppo.distributed.sharding import Shard
from flag_kedro.ppo.history import REWARD, Metrics
from flag_kedro.ppo.rollout import Rollout

PER_STATE = ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "kl", "volatility_loss", "loss")
"""Terms measured of every state; `kl` only where the initial policy counts, `volatility_loss` with such a head."""


class UpdateStatistics:
    """Terms of every state that an update has seen, minibatch after minibatch, whichever process measured them."""

    def __init__(self, shard: Shard, device: torch.device, *, with_kl: bool, with_volatility: bool = False) -> None:
        self._shard = shard
        self._device = device
        counts = {"kl": with_kl, "volatility_loss": with_volatility}
        self._names = [name for name in PER_STATE if counts.get(name, True)]
        self._series: dict[str, list[float]] = {name: [] for name in [*self._names, "grad_norm"]}
        self._rows: list[int] = []
        self._minibatch = torch.empty(0)

    def begin_minibatch(self, minibatch: Ints) -> None:
        """Make room for the terms of a minibatch, rows [G, A] of the rollout."""
        self._rows.extend(minibatch.ravel().tolist())
        self._minibatch = torch.zeros(len(self._names), *minibatch.shape, dtype=torch.float64, device=self._device)

    def record(self, groups: Ints, **terms: Tensor | None) -> None:
        """Take over the terms, each [K], of these groups of the minibatch; None where a term does not count."""
        measured = torch.stack([term.detach() for name in self._names if (term := terms[name]) is not None])
        index = torch.from_numpy(groups).to(self._device)
        self._minibatch[:, index] = measured.view(len(self._names), len(groups), -1).double()

    def end_minibatch(self) -> None:
        """Exchange what each process has measured; all processes call this after their last pass."""
        rows: list[list[float]] = self._shard.combine(self._minibatch).flatten(1).tolist()
        for name, row in zip(self._names, rows, strict=True):
            self._series[name].extend(row)

    def record_grad_norm(self, grad_norm: float) -> None:
        """Take over the norm of a minibatch's gradient before clipping."""
        self._series["grad_norm"].append(grad_norm)

    def recent_approx_kl(self, num_states: int) -> float:
        """Mean approximate KL over the `num_states` states that were seen last."""
        return float(np.mean(self._series["approx_kl"][-num_states:]))

    def entropy_of(self, several: Bools) -> float:
        """Mean entropy over all minibatches of the rows that `several` marks, [M]; infinite where it marks none."""
        entropies = np.array(self._series["entropy"])[several[self._rows]]
        return float(np.mean(entropies)) if len(entropies) else math.inf

    def means(self) -> Metrics:
        """The mean of each term over all minibatches, as `ppo/TERM`."""
        return {f"ppo/{name}": float(np.mean(series)) for name, series in self._series.items()}


def explained_variance(values: Tensor, targets: Tensor) -> float:
    """Share of the targets' variance that the values explain, 1 at best; 0 where targets do not vary. Both [M]."""
    spread = targets.double().var(correction=0)
    return 0.0 if spread == 0 else float(1 - (targets.double() - values.double()).var(correction=0) / spread)


def describe_rollout(rollout: Rollout, head: ActionHead) -> Metrics:
    """Mean reward and exposure, what was done, and the mean reward of the episodes that ended."""
    metrics = {
        REWARD: float(rollout.rewards.mean()),
        "env/exposure": float(np.abs(rollout.positions).mean()),
        **head.describe(rollout.actions),
    }
    if rollout.episode_returns:
        metrics["env/episode_reward"] = float(np.mean(rollout.episode_returns))
    return metrics
