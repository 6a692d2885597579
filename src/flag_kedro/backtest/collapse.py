"""Whether a policy still decides anything, and what may be claimed of its lead over buy and hold.

Shape legend: n = decisions of one symbol.
"""

from dataclasses import dataclass

import numpy as np

from flag_kedro.backtest.intervals import LEVEL, Difference
from flag_kedro.env.account import ACTION_NAMES, Floats, Ints
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
    """Mean of the decisions' entropies, in nats; None for a rule without probabilities."""
    collapsed_to: str | None
    """`buy_and_hold`, `flat` or `short` from an agreement of 0.95 on, else None."""

    @property
    def agreement(self) -> float:
        """Share of the decisions that ask for the position asked for most."""
        return max(self.agreement_long, self.agreement_flat, self.agreement_short)


def detect_collapse(actions: Ints, targets: Ints, probabilities: Floats | None) -> Collapse:
    """How often a policy acts, how much it agrees with always being long, flat or short, and how sure it is.

    Args:
        actions: 0 sell, 1 hold, 2 buy, [n].
        targets: position that each decision asks for, -1, 0 or 1, [n].
        probabilities: of sell, hold and buy at each decision, [n, 3]; None for a rule without any.

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
        policy_entropy=None if probabilities is None else float(_entropy(probabilities).mean()),
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


def _entropy(probabilities: Floats) -> Floats:
    """-sum p ln p over the last axis, in nats; 0 ln 0 = 0."""
    logs = np.log(np.where(probabilities > 0.0, probabilities, 1.0))
    return np.asarray(-(probabilities * logs).sum(-1) + 0.0)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What tests say of a strategy's lead over buy and hold."""

    sharpe_difference: Difference
    """Annualised Sharpe ratio less that of buy and hold."""
    sessions_needed: int | None
    """Window at which the difference would be told from 0."""
    deflated_sharpe_ratio: float | None
    """Over `num_trials`."""
    num_trials: int | None
    """Configurations and seeds tried on the window; None where nobody knows."""

    @property
    def survives_deflation(self) -> bool:
        """Whether the deflated Sharpe ratio reaches 0.95, as a lead after several trials must."""
        if self.num_trials is None or self.num_trials <= 1:
            return True
        return self.deflated_sharpe_ratio is not None and self.deflated_sharpe_ratio >= 1.0 - LEVEL


def verdict(strategy: str, collapse: Collapse, evidence: Evidence) -> str:
    """One sentence on `strategy` against buy and hold that claims no more than the test does.

    A policy that is long in 95 % of sessions is called buy and hold whatever the test says, one that always does
    something else is given neither lead nor lag. After several trials a lead is granted only where the deflated Sharpe
    ratio reaches 0.95 as well.
    """
    if collapse.collapsed_to == BENCHMARK:
        return f"{strategy} is buy and hold: its target is long in {collapse.agreement:.1%} of sessions."
    if collapse.collapsed_to is not None:
        return (
            f"{strategy} is always {collapse.collapsed_to} ({collapse.agreement:.1%} of sessions), "
            "which is no skill at timing."
        )
    return f"{strategy} is {_describe(evidence)}."


def is_proven_ahead(collapse: Collapse, evidence: Evidence) -> bool:
    """Whether `verdict` grants a lead over buy and hold."""
    difference = evidence.sharpe_difference
    if collapse.collapsed_to is not None or difference.value is None or difference.p_value is None:
        return False
    return difference.value > 0.0 and difference.p_value <= LEVEL and evidence.survives_deflation


def _describe(evidence: Evidence) -> str:
    difference = evidence.sharpe_difference
    if difference.value is None:
        return "not comparable with buy and hold: a Sharpe ratio is undefined where returns never vary"
    if difference.p_value is None:
        return "not comparable with buy and hold: too few of its returns vary for a test"
    if difference.value == 0.0:
        return "level with buy and hold"
    p_value, ahead = f"p = {difference.p_value:.2g}", difference.value > 0.0
    side = "ahead of" if ahead else "behind"
    if difference.p_value > LEVEL:
        needed = "" if evidence.sessions_needed is None else f"; {evidence.sessions_needed:,} sessions would be needed"
        return f"{side} buy and hold, but not distinguishable: {p_value}{needed}"
    if ahead and not evidence.survives_deflation:
        ratio = evidence.deflated_sharpe_ratio
        deflated = "undefined" if ratio is None else f"{ratio:.2f}"
        return (
            f"ahead of buy and hold ({p_value}), but not after {evidence.num_trials} trials: "
            f"deflated Sharpe ratio {deflated}"
        )
    unknown = "; how often the window was tried is not known" if ahead and evidence.num_trials is None else ""
    return f"{side} buy and hold in Sharpe ratio by {abs(difference.value):.2f}: {p_value}{unknown}"
