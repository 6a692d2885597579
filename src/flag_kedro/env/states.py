"""Inputs and outputs of a decision rule: states and decisions.

Shape legend: N = decisions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from flag_kedro.env.account import Bools, Floats, Ints


@dataclass(frozen=True)
class States:
    """Prompts and action masks of N decisions that are due. Prefix strings are shared: equal ones are one object."""

    prefix: Sequence[str]
    """Text shared by all accounts of the symbol and session, [N]."""
    account: Sequence[str]
    """Text of the account, [N]."""
    action_mask: Bools
    """Legal actions, [N, 3]."""

    def __len__(self) -> int:
        return len(self.prefix)


def join_states(parts: list[States]) -> States:
    """Put batches of states one behind the other."""
    return States(
        prefix=[prefix for part in parts for prefix in part.prefix],
        account=[account for part in parts for account in part.account],
        action_mask=np.concatenate([part.action_mask for part in parts]),
    )


def take_states(states: States, rows: Ints | Sequence[int]) -> States:
    """The states at `rows`."""
    return States(
        prefix=[states.prefix[row] for row in rows],
        account=[states.account[row] for row in rows],
        action_mask=states.action_mask[np.asarray(rows, dtype=np.int64)],
    )


@dataclass(frozen=True)
class Decisions:
    """Actions of a decision rule in N states."""

    actions: Ints
    """0 sell, 1 hold, 2 buy; legal, [N]."""
    probabilities: Floats | None = None
    """Of sell, hold and buy, [N, 3]; None for a rule without any."""
    values: Floats | None = None
    """Value estimates, [N]; None for a rule without any."""


Decide = Callable[[States], Decisions]
"""A decision rule."""
