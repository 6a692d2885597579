"""What PPO asks of a policy, whatever reads the prompts inside.

Shape legend: N = states asked about.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from flag_kedro.env.states import Decisions, States


@dataclass(frozen=True)
class Evaluation:
    """An actor-critic's outputs for N states."""

    log_probs: Tensor
    """Of the three actions, -inf where masked, [N, 3], float32."""
    values: Tensor
    """V(s), [N], float32."""
    volatility: Tensor | None = None
    """Standardised logarithm of the next five sessions' realised variance, [N]; None without such a head."""


class Evaluator(Protocol):
    """What evaluates states, whoever holds the weights."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    def evaluate(self, states: States) -> Evaluation:
        """Evaluate N states with gradients; equal states get equal outputs, whatever stands beside them."""

    def decide(self, states: States) -> Decisions:
        """The most probable legal action of each state, with probabilities and values; ties go to the first."""

    def read_ahead(self, prefixes: Sequence[str]) -> None:
        """Told which prompts come next, without their accounts: read them together where that is cheaper.

        Answers do not depend on it.
        """


class Policy(Evaluator, Protocol):
    """An actor-critic over prompts; the last five methods are those of `torch.nn.Module`."""

    tokens_read: int
    """Tokens that what learns has read so far; equal prompts that are read once count once."""

    heads: nn.ModuleDict
    """`policy` and `value`, and maybe `volatility`, which learn at `ppo.head_learning_rate`; others that learn may lie
    below."""

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """All weights."""

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, nn.Parameter]]:
        """All weights with their names."""

    def modules(self) -> Iterator[nn.Module]:
        """The policy and all its parts."""

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any:
        """Put weights in; returns the names that are missing and unexpected."""

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Let all weights learn, or none."""


def most_probable(evaluation: Evaluation) -> Decisions:
    """The greedy decisions of an evaluation."""
    probabilities = evaluation.log_probs.exp()
    return Decisions(
        actions=probabilities.argmax(dim=-1).cpu().numpy(),
        probabilities=probabilities.double().cpu().numpy(),
        values=evaluation.values.double().cpu().numpy(),
    )
