"""What a policy still decides."""

import math
from dataclasses import asdict

import numpy as np
import pytest

from flag_kedro.backtest.collapse import detect_collapse
from flag_kedro.errors import DataError


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


def test_entropy_is_of_decisions_with_a_choice() -> None:
    probabilities = np.array([[0.0, 0.5, 0.5], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.5, 0.5]])
    actions, targets, forced = np.array([2, 1, 1, 1]), np.array([1, 1, 1, 1]), np.array([False, True, True, False])
    assert detect_collapse(actions, targets, probabilities).policy_entropy == pytest.approx(math.log(2) / 2)
    assert detect_collapse(actions, targets, probabilities, forced).policy_entropy == pytest.approx(math.log(2))
    assert detect_collapse(actions, targets, probabilities, np.ones(4, dtype=bool)).policy_entropy is None
    assert detect_collapse(actions, targets, probabilities, forced).actions["hold"] == 0.75
