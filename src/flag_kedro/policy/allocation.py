"""Weights over symbols and cash from what an actor-critic says of each symbol: a Dirichlet distribution over parts.

A part is a symbol held long, a symbol held short (with short positions), or cash. Its concentration is 1 + softplus of
the log-odds of buying, or selling, against holding; that of cash is 1 + softplus(0). At 1 and above log-probabilities
are finite wherever a part can be. A symbol's weight is gross x (its long part - its short part). The log-probability is
of the parts that were drawn; without short positions they are the weights that are traded, with them several parts may
mean the same weights, which changes no ratio.

Shape legend: A = accounts, S = symbols, K = parts: S + 1, or 2S + 1 with short positions.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence
from torch.nn.functional import softplus

from flag_kedro.env.account import BUY, HOLD, SELL, Floats
from flag_kedro.env.config import PortfolioConfig, Positions
from flag_kedro.env.states import States
from flag_kedro.policy.interface import Evaluator


class Allocation:
    """The distribution of A accounts, and V of each.

    Attributes:
        concentration: of each part, the symbols' long ones first, then their short ones, cash last, [A, K].
        values: mean over symbols of what each prompt's value head says, [A].
    """

    def __init__(self, log_probs: Tensor, values: Tensor, num_symbols: int, positions: Positions) -> None:
        """Read the distribution off the outputs for each account's symbols, side by side.

        Args:
            log_probs: of sell, hold and buy, [A x S, 3].
            values: [A x S].
            num_symbols: S.
            positions: whether symbols may be short.
        """
        odds = log_probs.view(-1, num_symbols, log_probs.shape[1])
        scores = [odds[..., BUY] - odds[..., HOLD]]
        if positions == "long_short":
            scores.append(odds[..., SELL] - odds[..., HOLD])
        cash = torch.zeros_like(scores[0][:, :1])
        self.concentration = 1.0 + softplus(torch.cat([*scores, cash], dim=1))
        self.values = values.view(-1, num_symbols).mean(dim=1)

    def log_prob(self, log_parts: Tensor) -> Tensor:
        """Log-density of parts whose logarithms are given, [A, K] -> [A]."""
        alpha = self.concentration
        normaliser = torch.lgamma(alpha).sum(dim=1) - torch.lgamma(alpha.sum(dim=1))
        return ((alpha - 1.0) * log_parts).sum(dim=1) - normaliser

    def entropy(self) -> Tensor:
        """Differential entropy in nats, which may be negative, [A]."""
        found: Tensor = Dirichlet(self.concentration, validate_args=False).entropy()  # type: ignore[no-untyped-call]
        return found

    def kl(self, reference: "Allocation") -> Tensor:
        """KL divergence from the reference to this one, KL(this || reference), [A]."""
        own, other = (Dirichlet(each.concentration, validate_args=False) for each in (self, reference))
        return kl_divergence(own, other)

    @torch.no_grad()
    def sample(self, generators: list[np.random.Generator]) -> tuple[Floats, Tensor]:
        """Draw parts, a generator for each account; [A, K], and their logarithms as stored for `log_prob`.

        Logarithms are of the gamma variates themselves, so that none is of a part that was rounded to 0.
        """
        alpha = self.concentration.double().cpu().numpy()
        gammas = np.stack([generator.standard_gamma(row) for generator, row in zip(generators, alpha, strict=True)])
        gammas = np.maximum(gammas, np.finfo(np.float64).tiny)
        totals = gammas.sum(axis=1, keepdims=True)
        logs = torch.from_numpy(np.log(gammas) - np.log(totals)).float().to(self.concentration.device)
        return gammas / totals, logs

    @torch.no_grad()
    def mode(self) -> Floats:
        """The most probable parts, [A, K]: in proportion to concentration - 1, so that a part can be nearly nothing."""
        weights = (self.concentration - 1.0).double().cpu().numpy()
        parts: Floats = weights / weights.sum(axis=1, keepdims=True)
        return parts


def weights_of(parts: Floats, num_symbols: int, gross: float) -> Floats:
    """Weights of the symbols, [A, S], from parts [A, K]; what their sizes leave of `gross` is cash."""
    long = parts[:, :num_symbols]
    if parts.shape[1] == num_symbols + 1:
        return gross * long
    return gross * (long - parts[:, num_symbols : 2 * num_symbols])


def likeliest_weights(
    evaluator: Evaluator, num_symbols: int, positions: Positions, portfolio: PortfolioConfig
) -> Callable[[States, Floats], Floats]:
    """A rule that asks for the mode's weights: from states [A x S], whatever is held, to weights [A, S].

    Args:
        evaluator: an actor-critic.
        num_symbols: S.
        positions: whether symbols may be short.
        portfolio: its largest gross weight.
    """

    @torch.no_grad()
    def weigh(states: States, held: Floats) -> Floats:
        found = evaluator.evaluate(states)
        parts = Allocation(found.log_probs, found.values, num_symbols, positions).mode()
        return weights_of(parts, num_symbols, portfolio.gross)

    return weigh
