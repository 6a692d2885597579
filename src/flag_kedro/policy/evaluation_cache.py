"""A cache of evaluations: a policy whose weights stand still evaluates each state once.

Shape legend: N = states, K = distinct states seen so far.
"""

import torch

from flag_kedro.env.states import States, take_states
from flag_kedro.policy.interface import Evaluation, Evaluator

Key = tuple[str, str, bytes]
"""Prefix, account and legal actions of a state."""


class EvaluationCache:
    """Evaluations without gradients; valid for as long as nobody changes the policy's weights."""

    def __init__(self, policy: Evaluator) -> None:
        self.policy = policy
        self._row_index: dict[Key, int] = {}
        self._log_probs = torch.empty(0, 3, device=policy.device)
        self._values = torch.empty(0, device=policy.device)

    def __len__(self) -> int:
        return len(self._row_index)

    @torch.no_grad()
    def evaluate(self, states: States) -> Evaluation:
        """Evaluate N states; the policy is asked only for those that are new."""
        keys = [
            (prefix, account, mask.tobytes())
            for prefix, account, mask in zip(states.prefix, states.account, states.action_mask, strict=True)
        ]
        new = {key: index for index, key in enumerate(keys) if key not in self._row_index}
        if new:
            evaluation = self.policy.evaluate(take_states(states, list(new.values())))
            self._row_index |= {key: len(self._row_index) + row for row, key in enumerate(new)}
            self._log_probs = torch.cat([self._log_probs, evaluation.log_probs])
            self._values = torch.cat([self._values, evaluation.values])
        rows = torch.tensor([self._row_index[key] for key in keys], device=self._values.device)
        return Evaluation(log_probs=self._log_probs[rows], values=self._values[rows])
