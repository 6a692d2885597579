"""A policy that is a table, rollouts written by hand, and updates that are watched: small enough to check by hand.

Shape legend: R = rows of the table, T = steps, N = accounts, M = T x N states of a rollout.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from flag_kedro.env.states import Decisions, States
from flag_kedro.policy.interface import Evaluation, Evaluator, most_probable
from flag_kedro.ppo.actions import ActionHead, Discrete
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.distributed.sharding import Shard
from flag_kedro.ppo.rollout import Rollout
from flag_kedro.ppo.stopwatch import Stopwatch
from flag_kedro.ppo.update import ppo_update

Floats = NDArray[np.float64]

PLAIN = PPOConfig(
    total_timesteps=1, learning_rate=0.1, gamma=0.0, gae_lambda=0.0, norm_adv=False, clip_vloss=False, ent_coef=0.0,
    vf_coef=0.0, kl_coef=0.0, max_grad_norm=1e9, minibatch_size=None, gradient_accumulation_steps=1, anneal_lr=False,
    num_envs=1, num_steps=40, update_epochs=1, stagger_starts=False, reward_scale=1.0, validation_interval=10,
)  # fmt: skip
"""Nothing but the policy loss, of rewards that are their own advantages."""


class TabularPolicy(nn.Module):
    """Three logits and a value for every row, maybe a forecast too, and one bias of all logits below them; float64."""

    def __init__(
        self,
        num_rows: int,
        row_of: Callable[[str, str], int],
        spread: float = 0.0,
        seed: int = 0,
        *,
        forecasts: bool = False,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def drawn(*shape: int) -> Tensor:
            return spread * torch.randn(shape, generator=generator, dtype=torch.float64)

        self.tokens_read = 0
        self.row_of = row_of
        self.bias = nn.Parameter(drawn(3))
        self.heads = nn.ModuleDict(
            {
                name: nn.Embedding.from_pretrained(drawn(num_rows, width), freeze=False)
                for name, width in (("policy", 3), ("value", 1), ("volatility", 1))[: 3 if forecasts else 2]
            }
        )
        self.passes: list[list[int]] = []
        """Rows of every evaluation with gradients."""

    @property
    def device(self) -> torch.device:
        return self.bias.device

    def rows(self, states: States) -> list[int]:
        return [self.row_of(*prompt) for prompt in zip(states.prefix, states.account, strict=True)]

    def evaluate(self, states: States) -> Evaluation:
        rows = self.rows(states)
        if torch.is_grad_enabled():
            self.passes.append(rows)
        logits = self.heads["policy"](torch.tensor(rows)) + self.bias
        masked = logits.masked_fill(~torch.from_numpy(states.action_mask), -torch.inf)
        values, *forecasts = (head(torch.tensor(rows)).squeeze(-1) for head in list(self.heads.values())[1:])
        return Evaluation(torch.log_softmax(masked, dim=-1), values, *forecasts)

    @torch.no_grad()
    def decide(self, states: States) -> Decisions:
        return most_probable(self.evaluate(states))

    def read_ahead(self, prefixes: Sequence[str]) -> None:
        """Nothing."""

    def weights(self) -> dict[str, Floats]:
        """Copies of `bias` [3], `policy` [R, 3], `value` [R, 1] and maybe `volatility` [R, 1]."""
        return {short(name): weight.detach().numpy().copy() for name, weight in self.named_parameters()}

    def put(self, weights: dict[str, Floats]) -> None:
        """Take over copies of what `weights` gives."""
        with torch.no_grad():
            for name, weight in self.named_parameters():
                weight.copy_(torch.from_numpy(weights[short(name)]))


def short(name: str) -> str:
    """`bias`, `policy`, `value` or `volatility`."""
    return name.removeprefix("heads.").removesuffix(".weight")


def table_of(num_rows: int, spread: float = 0.0, seed: int = 0, *, forecasts: bool = False) -> TabularPolicy:
    """A policy for rollouts written by hand: row m answers for state m."""
    return TabularPolicy(num_rows, lambda prefix, account: int(prefix), spread, seed, forecasts=forecasts)


def write_rollout(
    policy: TabularPolicy,
    rewards: Any,
    values: Any = 0.0,
    next_values: Any = 0.0,
    terminated: Any = False,
    truncated: Any = False,
    actions: Any = 1,
    log_ratio: Any = 0.0,
    mask: Any = True,
) -> Rollout:
    """A rollout of M different states; `log_ratio` is how much likelier each action is now than when it was taken.

    `rewards`, `values`, `next_values`, `terminated` and `truncated` are [T, N], `actions` and `log_ratio` [M], `mask`
    [M, 3]; one number stands for all.
    """
    rewards = np.asarray(rewards, dtype=np.float64)

    def table(given: Any) -> Tensor:
        return torch.from_numpy(np.broadcast_to(given, rewards.shape).copy())

    mask = np.broadcast_to(mask, (rewards.size, 3)).copy()
    states = States([str(row) for row in range(rewards.size)], [""] * rewards.size, mask)
    actions = torch.from_numpy(np.broadcast_to(actions, rewards.size).astype(np.int64))
    with torch.no_grad():
        now = policy.evaluate(states).log_probs.gather(1, actions[:, None]).squeeze(1)
    return Rollout(
        states=states,
        actions=actions,
        log_probs=now - torch.from_numpy(np.broadcast_to(np.float64(log_ratio), rewards.size).copy()),
        values=table(np.float64(values)),
        next_values=table(np.float64(next_values)),
        rewards=table(rewards),
        terminated=table(terminated),
        truncated=table(truncated),
        positions=np.zeros(rewards.shape),
        episode_returns=[],
    )


@dataclass
class Written:
    """A collector whose rollout was written by hand."""

    rollout: Rollout
    head: ActionHead = field(default_factory=lambda: Discrete(()))

    def collect(self, model: Evaluator, num_steps: int) -> Rollout:
        return self.rollout


class Watched:
    """Updates of a table whose every optimizer step is written down."""

    def __init__(self, policy: TabularPolicy, reference: TabularPolicy | None, config: PPOConfig) -> None:
        self.optimizer = torch.optim.Adam(policy.parameters(), lr=config.learning_rate, eps=1e-5)
        self.optimizer.register_step_pre_hook(self._note)
        self.policy, self.reference, self.config = policy, reference, config
        self.gradients: list[dict[str, Floats]] = []
        """Clipped gradients of each step."""
        self.passes: list[list[list[int]]] = []
        """Rows of every forward pass of each step."""

    def _note(self, *_: Any) -> None:
        slopes = {}
        for name, weight in self.policy.named_parameters():
            assert weight.grad is not None
            slopes[short(name)] = weight.grad.numpy().copy()
        self.gradients.append(slopes)
        self.passes.append(list(self.policy.passes))
        self.policy.passes.clear()

    def learn(self, rollout: Rollout, update: int = 0) -> dict[str, float]:
        self.policy.passes.clear()
        who, how = (self.policy, self.reference, self.optimizer, Written(rollout)), (self.config, 0, update)
        return ppo_update(*who, *how, Shard(), Stopwatch(self.policy))[1]

    @property
    def minibatches(self) -> list[list[int]]:
        """Rows of each step."""
        return [[row for part in parts for row in part] for parts in self.passes]


def learned(config: PPOConfig, num_steps: int = 12, num_accounts: int = 2, **given: Any) -> Watched:
    """After one update of a table of zeros by `write_rollout`'s rewards of 1."""
    policy = table_of(num_steps * num_accounts)
    watched = Watched(policy, None, config)
    watched.learn(write_rollout(policy, given.pop("rewards", np.ones((num_steps, num_accounts))), **given))
    return watched
