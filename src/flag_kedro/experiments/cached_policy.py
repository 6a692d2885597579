"""A policy that reads prompts and nothing else, with a memory of its answers.

Shape legend: N = states.
"""

import numpy as np

from flag_kedro.backtest.replay import ReadAhead
from flag_kedro.env.account import Floats
from flag_kedro.env.states import Decide, Decisions, States

Key = tuple[str, str, bytes]
"""Prefix, account and legal actions of a state."""
Answer = tuple[int, Floats | None, float | None]
"""Action, probabilities and value, the last two None for a rule without."""


class CachedPolicy:
    """A decision rule and its answers so far.

    A prompt's answer does not depend on its neighbours (canonical shapes), so memory gives the same bits. The
    audit would otherwise spend its time on language models that are asked the same thing a dozen times.
    """

    def __init__(self, decide: Decide, read_ahead: ReadAhead | None = None) -> None:
        """Nothing is remembered yet.

        Args:
            decide: the rule.
            read_ahead: where it gains from knowing which prompts come next.
        """
        self._decide = decide
        self.read_ahead = read_ahead
        self._answers: dict[Key, Answer] = {}

    def answer(self, states: States) -> Decisions:
        """Ask the policy."""
        decisions = self._decide(states)
        probabilities, values = (
            [None] * len(states) if numbers is None else numbers
            for numbers in (decisions.probabilities, decisions.values)
        )
        answers = zip(decisions.actions, probabilities, values, strict=True)
        self._answers |= dict(zip(_keys(states), answers, strict=True))
        return decisions

    def answer_again(self, fresh: set[int]) -> Decide:
        """A rule for one replay: known prompts come from memory, but for those of the sessions in `fresh`."""
        session = -1

        def decide(states: States) -> Decisions:
            nonlocal session
            session += 1
            keys = _keys(states)
            if session in fresh or not all(key in self._answers for key in keys):
                return self.answer(states)
            actions, probabilities, values = zip(*(self._answers[key] for key in keys), strict=True)
            return Decisions(
                np.array(actions),
                None if probabilities[0] is None else np.stack(probabilities),
                None if values[0] is None else np.array(values),
            )

        return decide


def _keys(states: States) -> list[Key]:
    masks = (mask.tobytes() for mask in states.action_mask)
    return list(zip(states.prefix, states.account, masks, strict=True))
