"""What a policy still decides, and what may be claimed of it."""

import math
from dataclasses import asdict

import numpy as np
import pytest

from flag_kedro.backtest.collapse import Collapse, Evidence, detect_collapse, is_proven_ahead, verdict
from flag_kedro.backtest.intervals import Difference
from flag_kedro.errors import DataError

AHEAD = Difference(1.2, (0.3, 2.1), 0.01)
BEHIND = Difference(-1.2, (-2.1, -0.3), 0.01)
UNSURE = Difference(0.4, (-0.4, 1.2), 0.31)


def test_actions_agreements_and_entropies_are_as_worked_by_hand() -> None:
    # sell, hold, buy, buy; short, flat, long, long
    probabilities = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.5, 0.5], [0.25, 0.25, 0.5]])
    collapse = detect_collapse(np.array([0, 1, 2, 2]), np.array([-1, 0, 1, 1]), probabilities)
    assert asdict(collapse) == {
        "actions": {"sell": 0.25, "hold": 0.25, "buy": 0.5},
        "agreement_long": 0.5,
        "agreement_flat": 0.25,
        "agreement_short": 0.25,
        "action_entropy": pytest.approx(1.5 * math.log(2)),
        "policy_entropy": pytest.approx((math.log(2) + 1.5 * math.log(2)) / 4),
        "collapsed_to": None,
    }


@pytest.mark.parametrize(("position", "name"), [(1, "buy_and_hold"), (0, "flat"), (-1, "short")])
def test_policy_that_agrees_in_ninety_five_percent_of_sessions_is_collapsed(position: int, name: str) -> None:
    targets = np.full(100, position)
    targets[:5] = 0 if position else 1
    assert detect_collapse(np.ones(100, dtype=np.int64), targets, None).collapsed_to == name
    targets[5] = targets[0]
    assert detect_collapse(np.ones(100, dtype=np.int64), targets, None).collapsed_to is None


def test_rule_without_probabilities_has_no_entropy_of_its_own_and_one_action_has_none() -> None:
    collapse = detect_collapse(np.ones(9, dtype=np.int64), np.zeros(9, dtype=np.int64), None)
    assert collapse.policy_entropy is None
    assert collapse.action_entropy == 0.0


@pytest.mark.parametrize(
    ("actions", "targets", "probabilities", "message"),
    [
        ([], [], None, "no decision"),
        ([3], [0], None, "action"),
        ([1], [2], None, "target"),
        ([1, 1], [0], None, "target"),
        ([1], [0], [[0.5, 0.2, 0.2]], "sum 1"),
        ([1], [0], [[math.nan, 0.5, 0.5]], "sum 1"),
        ([1], [0], [[-0.5, 1.0, 0.5]], "sum 1"),
        ([1, 1], [0, 0], [[0.0, 0.5, 0.5]], "1 rows"),
    ],
)
def test_decisions_that_are_none_are_refused(
    actions: list[int], targets: list[int], probabilities: list[list[float]] | None, message: str
) -> None:
    given = None if probabilities is None else np.array(probabilities)
    with pytest.raises(DataError, match=message):
        detect_collapse(np.array(actions, dtype=np.int64), np.array(targets, dtype=np.int64), given)


def _collapse(to: str | None) -> Collapse:
    shares = {"buy_and_hold": (0.99, 0.01, 0.0), "flat": (0.02, 0.98, 0.0), "short": (0.03, 0.0, 0.97)}
    is_long, is_flat, is_short = shares.get(to or "", (0.5, 0.3, 0.2))
    return Collapse(
        actions={},
        agreement_long=is_long,
        agreement_flat=is_flat,
        agreement_short=is_short,
        action_entropy=0.0,
        policy_entropy=None,
        collapsed_to=to,
    )


def _evidence(
    difference: Difference, needed: int | None = 1_240, deflated: float | None = 0.99, num_trials: int | None = 1
) -> Evidence:
    return Evidence(
        sharpe_difference=difference, sessions_needed=needed, deflated_sharpe_ratio=deflated, num_trials=num_trials
    )


def _sentence(difference: Difference, collapsed_to: str | None = None, **given: float | None) -> str:
    return verdict("flag_trader", _collapse(collapsed_to), _evidence(difference, **given))


@pytest.mark.parametrize("difference", [AHEAD, BEHIND, UNSURE])
def test_policy_that_is_buy_and_hold_is_called_so_whatever_the_test_says(difference: Difference) -> None:
    assert _sentence(difference, collapsed_to="buy_and_hold") == (
        "flag_trader is buy and hold: its target is long in 99.0% of sessions."
    )


def test_lead_that_the_test_does_not_confirm_is_called_indistinguishable() -> None:
    assert _sentence(UNSURE) == (
        "flag_trader is ahead of buy and hold, but not distinguishable: p = 0.31; 1,240 sessions would be needed."
    )
    assert "needed" not in _sentence(UNSURE, needed=None)


def test_confirmed_lead_and_lag_are_given_with_size_and_p_value() -> None:
    assert _sentence(AHEAD) == "flag_trader is ahead of buy and hold in Sharpe ratio by 1.20: p = 0.01."
    assert _sentence(BEHIND) == "flag_trader is behind buy and hold in Sharpe ratio by 1.20: p = 0.01."


@pytest.mark.parametrize("deflated", [0.62, None])
def test_lead_of_one_among_many_trials_must_survive_deflation(deflated: float | None) -> None:
    assert "but not after 40 trials" in _sentence(AHEAD, deflated=deflated, num_trials=40)
    assert "in Sharpe ratio by" in _sentence(AHEAD, deflated=0.96, num_trials=40)


def test_undefined_ratios_and_equal_ones_are_named() -> None:
    assert "not comparable" in _sentence(Difference(None, None, None))
    assert "not comparable" in _sentence(Difference(0.4, None, None))
    assert _sentence(Difference(0.0, (0.0, 0.0), 1.0)) == "flag_trader is level with buy and hold."


@pytest.mark.parametrize(("position", "share"), [("flat", "98.0%"), ("short", "97.0%")])
def test_policy_that_always_holds_one_position_is_given_no_lead(position: str, share: str) -> None:
    expected = f"flag_trader is always {position} ({share} of sessions), which is no skill at timing."
    assert _sentence(AHEAD, collapsed_to=position) == expected


def test_lead_among_unknown_trials_says_that_they_are_unknown() -> None:
    assert "how often the window was tried is not known" in _sentence(AHEAD, deflated=None, num_trials=None)


@pytest.mark.parametrize(
    ("difference", "collapsed", "deflated", "trials", "granted"),
    [
        (AHEAD, None, 0.99, 1, True),
        (AHEAD, None, 0.96, 40, True),
        (AHEAD, None, 0.62, 40, False),
        (AHEAD, "flat", 0.99, 1, False),
        (AHEAD, "buy_and_hold", 0.99, 1, False),
        (BEHIND, None, 0.99, 1, False),
        (UNSURE, None, 0.99, 1, False),
        (Difference(None, None, None), None, None, 1, False),
    ],
)
def test_lead_is_proven_only_where_the_verdict_grants_it(
    difference: Difference, collapsed: str | None, deflated: float | None, trials: int, granted: bool
) -> None:
    evidence = _evidence(difference, 1, deflated, trials)
    assert is_proven_ahead(_collapse(collapsed), evidence) is granted
    sentence = verdict("flag_trader", _collapse(collapsed), evidence)
    assert ("ahead of buy and hold in Sharpe ratio by" in sentence) is granted
