"""Sharing the language model's work among processes.

Every process builds the same model and the same environment, draws the same random numbers and takes the same
optimizer steps. Only the reading of prompts is shared: all prompts of a prefix, that is whole (symbol, session) groups,
go to one process, and the others get its answers. In one process nothing here does anything.

Shape legend: N = states, W = processes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from flag_kedro.env.account import NUM_ACTIONS, Ints
from flag_kedro.env.states import Decisions, States, take_states
from flag_kedro.policy.interface import Evaluation, Evaluator, most_probable
from flag_kedro.ppo.distributed.collectives import all_reduce_sum
from flag_kedro.ppo.distributed.sharded_trunk import PassSynchronizer


@dataclass(frozen=True)
class Shard:
    """One of W processes that train together. What its methods do, all processes must do in the same order."""

    rank: int = 0
    world: int = 1
    synchronizer: PassSynchronizer | None = None
    """Of a trunk of which each process has a part."""

    @classmethod
    def of(cls, accelerator: Accelerator, synchronizer: PassSynchronizer | None = None) -> "Shard":
        """The shard of this process."""
        return cls(int(accelerator.process_index), int(accelerator.num_processes), synchronizer)

    def rows_to_read(self, prefixes: Sequence[str]) -> Ints:
        """Which of N prompts this process reads: distinct prefixes are dealt out as they first appear."""
        rank_of = {prefix: index % self.world for index, prefix in enumerate(dict.fromkeys(prefixes))}
        return np.array([row for row, prefix in enumerate(prefixes) if rank_of[prefix] == self.rank], dtype=np.int64)

    def combine(self, tensor: Tensor) -> Tensor:
        """Fill a tensor of which each process has set its own elements and left all others 0; exact to the bit.

        Sums are over the bits as integers, so that the sign of a zero and infinities come through too. All reading of
        prompts is followed by this, so here the trunk's parts are needed by nobody any more.
        """
        if self.synchronizer is not None:
            self.synchronizer.finish()
        if self.world > 1:
            all_reduce_sum(tensor.view(torch.int32))
        return tensor

    def all_reduce_gradients(self, weights: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes; where a process has none it counts as 0."""
        if self.world == 1:
            return
        learning = [weight for weight in weights if weight.requires_grad]
        flat = torch.cat([(torch.zeros_like(w) if w.grad is None else w.grad).flatten() for w in learning])
        all_reduce_sum(flat)
        for weight, gradient in zip(learning, torch.split(flat, [w.numel() for w in learning]), strict=True):
            weight.grad = gradient.view_as(weight)

    def all_gather(self, number: int, device: torch.device) -> list[int]:
        """The number of each process, [W]; they must fit into 64 bits."""
        numbers = torch.zeros(self.world, dtype=torch.int64, device=device)
        numbers[self.rank] = number
        if self.world > 1:
            all_reduce_sum(numbers)
        by_rank: list[int] = numbers.tolist()
        return by_rank

    def broadcast(self, content: bytes, device: torch.device) -> bytes:
        """What process 0 holds; what the others hold does not matter."""
        if self.world == 1:
            return content
        sent = content if self.rank == 0 else b""
        received = torch.zeros(sum(self.all_gather(len(sent), device)), dtype=torch.uint8, device=device)
        received[: len(sent)] = torch.frombuffer(bytearray(sent), dtype=torch.uint8) if sent else 0
        all_reduce_sum(received)  # of which all but one are zeros
        return received.cpu().numpy().tobytes()

    def spread(self, policy: Evaluator) -> Evaluator:
        """The same policy, asked by all processes together."""
        return policy if self.world == 1 else SpreadPolicy(policy, self)


class SpreadPolicy:
    """A policy without gradients that all processes ask the same at the same time; each gets all answers.

    Answers are the policy's own to the bit, since equal states get equal answers whatever stands beside them.
    """

    def __init__(self, policy: Evaluator, shard: Shard) -> None:
        self.policy = policy
        self.shard = shard

    @property
    def device(self) -> torch.device:
        """Where answers are."""
        return self.policy.device

    @torch.no_grad()
    def evaluate(self, states: States) -> Evaluation:
        """Evaluate N states, each in one process only."""
        answers = torch.zeros(len(states), NUM_ACTIONS + 1, device=self.device)
        rows = self.shard.rows_to_read(states.prefix)
        if rows.size:
            evaluation = self.policy.evaluate(take_states(states, rows))
            columns = torch.cat([evaluation.log_probs, evaluation.values[:, None]], dim=1)
            answers[torch.from_numpy(rows).to(self.device)] = columns
        self.shard.combine(answers)
        return Evaluation(log_probs=answers[:, :NUM_ACTIONS], values=answers[:, NUM_ACTIONS])

    def decide(self, states: States) -> Decisions:
        """The most probable legal action of each state, with probabilities and values; ties go to the first."""
        return most_probable(self.evaluate(states))

    def read_ahead(self, prefixes: Sequence[str]) -> None:
        """Nothing: which process reads a prompt is known once it is asked for."""


def weights_sum(weights: Iterable[nn.Parameter]) -> int:
    """The sum of the bits of all float32 weights that learn: equal weights give equal sums on any machine."""
    sums = [w.detach().view(torch.int32).sum(dtype=torch.int64) for w in weights if w.requires_grad]
    return int(torch.stack(sums).sum())
