"""Whether a policy still decides anything.

Shape legend: n = decisions of one symbol.
"""

from dataclasses import dataclass

import numpy as np

from flag_kedro.env.account import ACTION_NAMES, Bools, Floats, Ints
from flag_kedro.errors import DataError
from flag_kedro.names import BENCHMARK, FLAT

COLLAPSED = 0.95
"""Share of sessions from which on a policy is called what it agrees with."""
MAX_SUM_ERROR = 1e-4
SHORT = "short"
POSITIONS = {BENCHMARK: 1, FLAT: 0, SHORT: -1}
"""What a strategy that always asks for one position is called, and that position."""


@dataclass(frozen=True, kw_only=True)
class Collapse:
    """How often a strategy acts, which constant position it agrees with, and how sure it is."""

    actions: dict[str, float]
    """Share of the decisions that were `sell`, `hold` and `buy`."""
    agreement_long: float
    """Share of the decisions that ask for a long position."""
    agreement_flat: float
    agreement_short: float
    action_entropy: float
    """Of the shares of the actions, in nats."""
    policy_entropy: float | None
    """Mean of the decisions' entropies, in nats, of those with a choice; None for a rule without probabilities."""
    collapsed_to: str | None
    """`buy_and_hold`, `flat` or `short` from an agreement of 0.95 on, else None."""

    @property
    def agreement(self) -> float:
        """Share of the decisions that ask for the position asked for most."""
        return max(self.agreement_long, self.agreement_flat, self.agreement_short)


def detect_collapse(
    actions: Ints, targets: Ints, probabilities: Floats | None, forced: Bools | None = None
) -> Collapse:
    """How often a policy acts, how much it agrees with always being long, flat or short, and how sure it is.

    Args:
        actions: 0 sell, 1 hold, 2 buy, [n].
        targets: position that each decision asks for, -1, 0 or 1, [n].
        probabilities: of sell, hold and buy at each decision, [n, 3]; None for a rule without any.
        forced: whether nothing but `hold` was legal, [n]; None where there was always a choice.

    Raises:
        DataError: without decisions, for unknown actions or targets, or for probabilities that are none.
    """
    _check(actions, targets, probabilities)
    shares = np.bincount(actions, minlength=len(ACTION_NAMES)) / len(actions)
    agreements = {name: float((targets == position).mean()) for name, position in POSITIONS.items()}
    return Collapse(
        actions={name: float(share) for name, share in zip(ACTION_NAMES, shares, strict=True)},
        agreement_long=agreements[BENCHMARK],
        agreement_flat=agreements[FLAT],
        agreement_short=agreements[SHORT],
        action_entropy=float(_entropy(shares)),
        policy_entropy=_policy_entropy(probabilities, forced),
        collapsed_to=next((name for name, share in agreements.items() if share >= COLLAPSED), None),
    )


def _check(actions: Ints, targets: Ints, probabilities: Floats | None) -> None:
    if not len(actions):
        raise DataError("there is no decision to look at; the strategy must have decided in at least one session")
    for name, values, valid in (("action", actions, (0, 1, 2)), ("target", targets, (-1, 0, 1))):
        unknown = values[~np.isin(values, valid)]
        if len(values) != len(actions) or len(unknown):
            raise DataError(
                f"each of {len(actions)} decisions needs a {name} in {valid}; found {unknown.tolist() or len(values)}"
            )
    if probabilities is None:
        return
    off = np.flatnonzero(~(np.abs(probabilities.sum(-1) - 1.0) <= MAX_SUM_ERROR) | (probabilities < 0.0).any(-1))
    if len(off) or len(probabilities) != len(actions):
        invalid = probabilities[off[0]].tolist() if len(off) else f"{len(probabilities)} rows"
        raise DataError(f"each of {len(actions)} decisions needs three probabilities of sum 1; found {invalid}")


def _policy_entropy(probabilities: Floats | None, forced: Bools | None) -> float | None:
    if probabilities is not None and forced is not None:
        probabilities = probabilities[~forced]
    return None if probabilities is None or not len(probabilities) else float(_entropy(probabilities).mean())


def _entropy(probabilities: Floats) -> Floats:
    """-sum p ln p over the last axis, in nats; 0 ln 0 = 0."""
    logs = np.log(np.where(probabilities > 0.0, probabilities, 1.0))
    return np.asarray(-(probabilities * logs).sum(-1) + 0.0)
