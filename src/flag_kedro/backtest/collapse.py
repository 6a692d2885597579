"""Whether a policy still decides anything, and what may be said of it.

Shape legend: n = decisions of one symbol.
"""

from typing import Any

import numpy as np

from flag_kedro.backtest.intervals import LEVEL, Difference
from flag_kedro.env.account import ACTION_NAMES, Floats, Ints
from flag_kedro.errors import DataError

COLLAPSED = 0.95
"""Share of sessions from which on a policy is called what it agrees with."""
POSITIONS = {"buy_and_hold": ("agreement_long", 1), "flat": ("agreement_flat", 0), "short": ("agreement_short", -1)}
MAX_SUM_ERROR = 1e-4


def detect_collapse(actions: Ints, targets: Ints, probabilities: Floats | None) -> dict[str, Any]:
    """How often a policy acts, how much it agrees with always being long, flat or short, and how sure it is.

    Args:
        actions: 0 sell, 1 hold, 2 buy, [n].
        targets: position that each decision asks for, -1, 0 or 1, [n].
        probabilities: of sell, hold and buy at each decision, [n, 3]; None for a rule without any.

    Returns:
        `actions` (share of each), `agreement_long`, `agreement_flat` and `agreement_short` (share of sessions with
        that target), `action_entropy` (of the shares, in nats), `policy_entropy` (mean of the decisions', in nats, or
        None) and `collapsed_to` ("buy_and_hold", "flat" or "short" from an agreement of 0.95 on, else None).

    Raises:
        DataError: without decisions, for unknown actions or targets, or for probabilities that are none.
    """
    _check(actions, targets, probabilities)
    shares = np.bincount(actions, minlength=len(ACTION_NAMES)) / len(actions)
    agreement = {key: float((targets == position).mean()) for key, position in POSITIONS.values()}
    collapsed = [name for name, (key, _) in POSITIONS.items() if agreement[key] >= COLLAPSED]
    return {
        "actions": {name: float(share) for name, share in zip(ACTION_NAMES, shares, strict=True)},
        **agreement,
        "action_entropy": float(_entropy(shares)),
        "policy_entropy": None if probabilities is None else float(_entropy(probabilities).mean()),
        "collapsed_to": collapsed[0] if collapsed else None,
    }


def _check(actions: Ints, targets: Ints, probabilities: Floats | None) -> None:
    if not len(actions):
        raise DataError("there is no decision to look at; the strategy must have decided in at least one session")
    for name, values, known in (("action", actions, (0, 1, 2)), ("target", targets, (-1, 0, 1))):
        unknown = values[~np.isin(values, known)]
        if len(values) != len(actions) or len(unknown):
            raise DataError(
                f"each of {len(actions)} decisions needs a {name} in {known}; found {unknown.tolist() or len(values)}"
            )
    if probabilities is None:
        return
    off = np.flatnonzero(~(np.abs(probabilities.sum(-1) - 1.0) <= MAX_SUM_ERROR) | (probabilities < 0.0).any(-1))
    if len(off) or len(probabilities) != len(actions):
        found = probabilities[off[0]].tolist() if len(off) else f"{len(probabilities)} rows"
        raise DataError(f"each of {len(actions)} decisions needs three probabilities of sum 1; found {found}")


def _entropy(probabilities: Floats) -> Floats:
    """-sum p ln p over the last axis, in nats; 0 ln 0 = 0."""
    logs = np.log(np.where(probabilities > 0.0, probabilities, 1.0))
    return np.asarray(-(probabilities * logs).sum(-1) + 0.0)


def verdict(
    strategy: str,
    collapse: dict[str, Any],
    sharpe_difference: Difference,
    sessions_needed: int | None,
    deflated_sharpe_ratio: float | None,
    num_trials: int | None,
) -> str:
    """One sentence on `strategy` against buy and hold that claims no more than the test does.

    A policy that is long in 95 % of sessions is called buy and hold whatever the test says, one that always does
    something else is given neither lead nor lag. After several trials a lead is granted only where the deflated Sharpe
    ratio reaches 0.95 as well.

    Args:
        strategy: its name.
        collapse: of `detect_collapse`.
        sharpe_difference: from buy and hold.
        sessions_needed: window at which the difference would be told from 0.
        deflated_sharpe_ratio: over `num_trials`.
        num_trials: configurations and seeds tried on the window; None where nobody knows.
    """
    collapsed = collapse["collapsed_to"]
    if collapsed == "buy_and_hold":
        return f"{strategy} is buy and hold: its target is long in {collapse['agreement_long']:.1%} of sessions."
    if collapsed is not None:
        share = collapse[POSITIONS[collapsed][0]]
        return f"{strategy} is always {collapsed} ({share:.1%} of sessions), which is no skill at timing."
    return f"{strategy} is {_finding(sharpe_difference, sessions_needed, deflated_sharpe_ratio, num_trials)}."


def is_proven_ahead(
    collapse: dict[str, Any], difference: Difference, deflated_sharpe_ratio: float | None, num_trials: int | None
) -> bool:
    """Whether `verdict` grants a lead over buy and hold."""
    if collapse["collapsed_to"] is not None or difference.value is None or difference.p_value is None:
        return False
    gated = num_trials is not None and num_trials > 1
    passed = not gated or (deflated_sharpe_ratio is not None and deflated_sharpe_ratio >= 1.0 - LEVEL)
    return difference.value > 0.0 and difference.p_value <= LEVEL and passed


def _finding(
    difference: Difference, sessions_needed: int | None, deflated_sharpe_ratio: float | None, num_trials: int | None
) -> str:
    if difference.value is None:
        return "not comparable with buy and hold: a Sharpe ratio is undefined where returns never vary"
    if difference.p_value is None:
        return "not comparable with buy and hold: too few of its returns vary for a test"
    if difference.value == 0.0:
        return "level with buy and hold"
    p_value, ahead = f"p = {difference.p_value:.2g}", difference.value > 0.0
    side = "ahead of" if ahead else "behind"
    if difference.p_value > LEVEL:
        needed = "" if sessions_needed is None else f"; {sessions_needed:,} sessions would be needed"
        return f"{side} buy and hold, but not distinguishable: {p_value}{needed}"
    if (
        ahead
        and num_trials is not None
        and num_trials > 1
        and (deflated_sharpe_ratio is None or deflated_sharpe_ratio < 1.0 - LEVEL)
    ):
        deflated = "undefined" if deflated_sharpe_ratio is None else f"{deflated_sharpe_ratio:.2f}"
        return f"ahead of buy and hold ({p_value}), but not after {num_trials} trials: deflated Sharpe ratio {deflated}"
    unknown = "; how often the window was tried is not known" if ahead and num_trials is None else ""
    return f"{side} buy and hold in Sharpe ratio by {abs(difference.value):.2f}: {p_value}{unknown}"
