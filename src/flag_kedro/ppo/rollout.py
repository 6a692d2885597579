"""Collecting experience: the policy samples, the environment answers.

Shape legend: T = steps, S = symbols, A = accounts per symbol, N = S x A, M = T x N states in all.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flag_kedro.data.streams import stream
from flag_kedro.env.account import Floats, Ints
from flag_kedro.env.states import States, join_states
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.policy.evaluation_cache import EvaluationCache
from flag_kedro.policy.interface import Evaluation, Evaluator


@dataclass(frozen=True)
class Rollout:
    """T sessions of N accounts, flattened step by step: row t x N + n."""

    states: States
    """[M]."""
    actions: Tensor
    """[M]."""
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
    """Position held over each return: -1 short, 0 flat, 1 long, [T, N]."""
    episode_returns: list[float]
    """Sums of rewards of the episodes that ended."""


def uniform_draws(seed: int, purpose: str, symbols: tuple[str, ...], step: int, num_accounts: int) -> Floats:
    """Uniform numbers in [0, 1) for every account, [S x A].

    Each depends on (seed, purpose, symbol, step) and the account's index alone, so neither sharding nor a
    resumed run changes it.
    """
    return np.concatenate([stream(seed, purpose, symbol, step).random(num_accounts) for symbol in symbols])


def sample_actions(log_probs: Tensor, draws: Floats) -> Ints:
    """Invert the cumulative distribution of each state at its draw, [N, 3] and [N] -> [N]; masked actions never."""
    probabilities = log_probs.double().exp().cpu().numpy()
    cumulative = np.cumsum(probabilities, axis=1)
    scaled = draws[:, None] * cumulative[:, -1:]
    chosen: Ints = np.argmax((cumulative > scaled) & (probabilities > 0), axis=1)
    return chosen


class RolloutCollector:
    """Steps the environment across rollouts; episodes go on from one to the next."""

    def __init__(self, env: TradingVectorEnv, seed: int, accounts_per_symbol: int, start: Ints | None) -> None:
        self.env = env
        self.seed = seed
        self.accounts_per_symbol = accounts_per_symbol
        self.step_count = 0
        self._returns = np.zeros(env.num_envs)
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
        env, device, cache = self.env, model.device, EvaluationCache(model)
        steps: list[tuple[States, Ints, Tensor]] = []
        values, next_values, rewards, terminations, truncations, positions = [], [], [], [], [], []
        episode_returns: list[float] = []
        model.read_ahead(env.upcoming_prefixes(num_steps))
        states = env.states()
        evaluation = cache.evaluate(states)
        for _ in range(num_steps):
            draws = uniform_draws(self.seed, "action", env.window.symbols, self.step_count, self.accounts_per_symbol)
            actions = sample_actions(evaluation.log_probs, draws)
            _, reward, terminated, truncated, info = env.step(actions)
            ended = terminated | truncated
            chosen = evaluation.log_probs.gather(1, torch.from_numpy(actions).to(device)[:, None]).squeeze(1)
            steps.append((states, actions, chosen))
            values.append(evaluation.values)
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
            actions=torch.from_numpy(np.concatenate([actions for _, actions, _ in steps])).to(device),
            log_probs=torch.cat([chosen for _, _, chosen in steps]),
            values=torch.stack(values),
            next_values=torch.stack(next_values),
            rewards=torch.tensor(np.stack(rewards), dtype=torch.float32, device=device),
            terminated=torch.from_numpy(np.stack(terminations)).to(device),
            truncated=torch.from_numpy(np.stack(truncations)).to(device),
            positions=np.stack(positions).astype(np.float64),
            episode_returns=episode_returns,
        )

    def _arrive(
        self, cache: EvaluationCache, any_ended: bool, info: dict[str, States]
    ) -> tuple[States, Evaluation, Tensor]:
        """The states to decide on next, their evaluation, and V of those reached before a reset."""
        states = self.env.states()
        if not any_ended:
            evaluation = cache.evaluate(states)
            return states, evaluation, evaluation.values
        both = cache.evaluate(join_states([states, info["final_states"]]))
        num = len(states)
        evaluation = Evaluation(log_probs=both.log_probs[:num], values=both.values[:num])
        return states, evaluation, both.values[num:]
