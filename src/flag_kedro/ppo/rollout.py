"""Collecting experience: the policy samples, the environment answers.

Shape legend: T = steps, S = symbols, A = accounts per symbol, N = S x A accounts, M = T x N rows in all, K = states of
a row: 1, or the symbols of a portfolio, of which there are N = A.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flag_kedro.env.account import Floats, Ints
from flag_kedro.env.portfolio import PortfolioVectorEnv
from flag_kedro.env.states import States, join_states
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.policy.evaluation_cache import EvaluationCache
from flag_kedro.policy.interface import Evaluation, Evaluator
from flag_kedro.ppo.actions import ActionHead, Discrete
from flag_kedro.ppo.volatility_targets import VolatilityTargets


@dataclass(frozen=True)
class Rollout:
    """T sessions of N accounts, flattened step by step: row t x N + n."""

    states: States
    """[M x K], those of a row side by side."""
    actions: Tensor
    """As the action head's `log_prob` takes them, [M, ...]."""
    log_probs: Tensor
    """Log-probability of each action when it was taken, [M]."""
    values: Tensor
    """[T, N]."""
    next_values: Tensor
    """V of the state reached before any reset, [T, N]."""
    rewards: Tensor
    """[T, N]."""
    terminated: Tensor
    """Whether the account was ruined, [T, N]."""
    truncated: Tensor
    """Whether the episode was cut short, [T, N]."""
    positions: Floats
    """Position held over each return: -1 short, 0 flat, 1 long; or the sum of a portfolio's weights, [T, N]."""
    episode_returns: list[float]
    """Sums of rewards of the episodes that ended."""
    volatility: Tensor | None = None
    """What the volatility head should have said of each state, NaN where nobody knows, [M x K]; None without it."""


class RolloutCollector:
    """Steps the environment across rollouts; episodes go on from one to the next."""

    def __init__(
        self,
        env: TradingVectorEnv | PortfolioVectorEnv,
        seed: int,
        num_accounts: int,
        start: Ints | None,
        head: ActionHead | None = None,
        volatility: VolatilityTargets | None = None,
    ) -> None:
        """Open all accounts.

        Args:
            env: the environment.
            seed: of every draw.
            num_accounts: of each symbol; of a portfolio in all.
            start: first session of each symbol, or of each portfolio; None for the window's first.
            head: what outputs mean; None for sell, hold and buy.
            volatility: what a volatility head learns; None without one.
        """
        self.env = env
        self.seed = seed
        self.num_accounts = num_accounts
        self.head: ActionHead = head or Discrete(env.window.symbols)
        self.volatility = volatility
        self.step_count = 0
        self._returns = np.zeros(env.num_envs)
        if isinstance(env, PortfolioVectorEnv):
            env.reset(start)
        else:
            env.reset(options=None if start is None else {"start": start})

    def snapshot(self) -> dict[str, Tensor]:
        """Copies of what later rollouts depend on besides the environment."""
        return {"step_count": torch.tensor(self.step_count), "returns": torch.from_numpy(self._returns.copy())}

    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """Go on where another collector stood."""
        self.step_count, self._returns = int(snapshot["step_count"]), snapshot["returns"].numpy().copy()

    @torch.no_grad()
    def collect(self, model: Evaluator, num_steps: int) -> Rollout:
        """Play `num_steps` sessions with `model`'s sampled actions; each distinct state is evaluated once."""
        env, head, device, cache = self.env, self.head, model.device, EvaluationCache(model)
        steps: list[tuple[States, Tensor, Tensor]] = []
        values, next_values, rewards, terminations, truncations, positions = [], [], [], [], [], []
        episode_returns: list[float] = []
        volatility: list[Floats] = []
        model.read_ahead(env.upcoming_prefixes(num_steps))
        states = env.states()
        evaluation = cache.evaluate(states)
        for _ in range(num_steps):
            asked: Any
            if self.volatility is not None:
                volatility.append(self.volatility.of_states(env))
            asked, actions = head.sample(evaluation, self.seed, self.step_count, self.num_accounts)
            *_, reward, terminated, truncated, info = env.step(asked)
            ended = terminated | truncated
            steps.append((states, actions, head.log_prob(evaluation, actions)))
            values.append(head.values(evaluation))
            states, evaluation, reached = self._arrive(cache, bool(ended.any()), info)
            next_values.append(reached)
            rewards.append(reward)
            terminations.append(terminated)
            truncations.append(truncated)
            positions.append(info["position"])
            self.step_count += 1
            self._returns += reward
            episode_returns += self._returns[ended].tolist()
            self._returns[ended] = 0.0
        return Rollout(
            states=join_states([state for state, _, _ in steps]),
            actions=torch.cat([actions for _, actions, _ in steps]),
            log_probs=torch.cat([chosen for _, _, chosen in steps]),
            values=torch.stack(values),
            next_values=torch.stack(next_values),
            rewards=torch.tensor(np.stack(rewards), dtype=torch.float32, device=device),
            terminated=torch.from_numpy(np.stack(terminations)).to(device),
            truncated=torch.from_numpy(np.stack(truncations)).to(device),
            positions=np.stack(positions).astype(np.float64),
            episode_returns=episode_returns,
            volatility=torch.from_numpy(np.concatenate(volatility)).float().to(device) if volatility else None,
        )

    def _arrive(
        self, cache: EvaluationCache, any_ended: bool, info: dict[str, States]
    ) -> tuple[States, Evaluation, Tensor]:
        """The states to decide on next, their evaluation, and V of those reached before a reset."""
        states = self.env.states()
        if not any_ended:
            evaluation = cache.evaluate(states)
            return states, evaluation, self.head.values(evaluation)
        both = cache.evaluate(join_states([states, info["final_states"]]))
        num = len(states)
        evaluation, reached = (
            Evaluation(log_probs=both.log_probs[part], values=both.values[part])
            for part in (slice(num), slice(num, None))
        )
        return states, evaluation, self.head.values(reached)
