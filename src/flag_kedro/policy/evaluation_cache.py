"""Asking a policy whose weights stand still each question once.

Shape legend: N = states, K = distinct states seen so far.
"""

import torch

from flag_kedro.env.states import States, take_states
from flag_kedro.policy.interface import Evaluation, Evaluator

Key = tuple[str, str, bytes]
"""Prefix, account and legal actions of a state."""


class EvaluationCache:
    """A table of answers without gradients; good for as long as nobody changes the policy's weights."""

    def __init__(self, policy: Evaluator) -> None:
        self.policy = policy
        self._row: dict[Key, int] = {}
        self._log_probs = torch.empty(0, 3, device=policy.device)
        self._values = torch.empty(0, device=policy.device)

    def __len__(self) -> int:
        return len(self._row)

    @torch.no_grad()
    def evaluate(self, states: States) -> Evaluation:
        """Answers for N states; the policy is asked only for those that are new."""
        keys = [
            (prefix, account, mask.tobytes())
            for prefix, account, mask in zip(states.prefix, states.account, states.action_mask, strict=True)
        ]
        new = {key: at for at, key in enumerate(keys) if key not in self._row}
        if new:
            said = self.policy.evaluate(take_states(states, list(new.values())))
            self._row |= {key: len(self._row) + place for place, key in enumerate(new)}
            self._log_probs = torch.cat([self._log_probs, said.log_probs])
            self._values = torch.cat([self._values, said.values])
        rows = torch.tensor([self._row[key] for key in keys], device=self._values.device)
        return Evaluation(log_probs=self._log_probs[rows], values=self._values[rows])
