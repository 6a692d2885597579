"""How outputs of the actor-critic become actions: one of three for a symbol, or weights for a portfolio.

Shape legend: R = rows of a rollout or minibatch, one for each account and step; K = states of a row.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from flag_kedro.data.streams import stream
from flag_kedro.env.account import Floats, Ints
from flag_kedro.env.config import Positions
from flag_kedro.policy.allocation import Allocation, weights_of
from flag_kedro.policy.interface import Evaluation
from flag_kedro.ppo import losses
from flag_kedro.ppo.history import BUY_SHARE, HOLD_SHARE, SELL_SHARE, Metrics


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


class ActionHead(Protocol):
    """The distribution of actions that outputs mean."""

    @property
    def states_per_row(self) -> int:
        """K."""

    def sample(self, evaluation: Evaluation, seed: int, step: int, accounts: int) -> tuple[Any, Tensor]:
        """Actions for the environment and the same as `log_prob` takes them, [R, ...].

        Args:
            evaluation: of R x K states.
            seed: of every draw.
            step: number of the environment's step.
            accounts: of each symbol, or in all.
        """

    def log_prob(self, evaluation: Evaluation, actions: Tensor) -> Tensor:
        """Log-probability of each row's action, [R]."""

    def entropy(self, evaluation: Evaluation) -> Tensor:
        """In nats, [R]."""

    def kl(self, evaluation: Evaluation, reference: Tensor) -> Tensor:
        """KL from the reference, whose `Evaluation.log_probs` are given, [R]."""

    def values(self, evaluation: Evaluation) -> Tensor:
        """V of each row, [R]."""

    def describe(self, actions: Tensor) -> Metrics:
        """What was done in a rollout."""


def state_rows(rows: Ints, head: ActionHead) -> Ints:
    """Indices of the states of `rows`, those of a row side by side, [R x K]."""
    spread: Ints = (rows[:, None] * head.states_per_row + np.arange(head.states_per_row)).ravel()
    return spread


@dataclass(frozen=True)
class Discrete:
    """Sell, hold or buy, a state a row."""

    symbols: tuple[str, ...]
    states_per_row: int = 1

    def sample(self, evaluation: Evaluation, seed: int, step: int, accounts: int) -> tuple[Ints, Tensor]:
        """See `ActionHead`."""
        chosen = sample_actions(evaluation.log_probs, uniform_draws(seed, "action", self.symbols, step, accounts))
        return chosen, torch.from_numpy(chosen).to(evaluation.log_probs.device)

    def log_prob(self, evaluation: Evaluation, actions: Tensor) -> Tensor:
        """See `ActionHead`."""
        return evaluation.log_probs.gather(1, actions[:, None]).squeeze(1)

    def entropy(self, evaluation: Evaluation) -> Tensor:
        """See `ActionHead`."""
        return losses.entropy(evaluation.log_probs)

    def kl(self, evaluation: Evaluation, reference: Tensor) -> Tensor:
        """See `ActionHead`."""
        return losses.kl_divergence(evaluation.log_probs, reference)

    def values(self, evaluation: Evaluation) -> Tensor:
        """See `ActionHead`."""
        return evaluation.values

    def describe(self, actions: Tensor) -> Metrics:
        """Shares of the three actions."""
        shares = torch.bincount(actions, minlength=3) / len(actions)
        return {SELL_SHARE: float(shares[0]), HOLD_SHARE: float(shares[1]), BUY_SHARE: float(shares[2])}


@dataclass(frozen=True)
class Weights:
    """Weights over symbols and cash, a row for all symbols of an account (`policy.allocation`)."""

    states_per_row: int
    """Symbols."""
    positions: Positions
    gross: float

    def sample(self, evaluation: Evaluation, seed: int, step: int, accounts: int) -> tuple[Any, Tensor]:
        """See `ActionHead`; weights [R, S], and logarithms of parts."""
        generators = [stream(seed, "weights", step, account) for account in range(accounts)]
        parts, logs = self._of(evaluation).sample(generators)
        return weights_of(parts, self.states_per_row, self.gross), logs

    def log_prob(self, evaluation: Evaluation, actions: Tensor) -> Tensor:
        """See `ActionHead`."""
        return self._of(evaluation).log_prob(actions)

    def entropy(self, evaluation: Evaluation) -> Tensor:
        """See `ActionHead`."""
        return self._of(evaluation).entropy()

    def kl(self, evaluation: Evaluation, reference: Tensor) -> Tensor:
        """See `ActionHead`."""
        other = Allocation(reference, reference[:, 0], self.states_per_row, self.positions)
        return self._of(evaluation).kl(other)

    def values(self, evaluation: Evaluation) -> Tensor:
        """See `ActionHead`."""
        return self._of(evaluation).values

    def describe(self, actions: Tensor) -> Metrics:
        """Mean share of the account in cash."""
        return {"env/cash_share": float(actions[:, -1].exp().mean())}

    def _of(self, evaluation: Evaluation) -> Allocation:
        return Allocation(evaluation.log_probs, evaluation.values, self.states_per_row, self.positions)
