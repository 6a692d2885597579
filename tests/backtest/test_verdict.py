"""What may be claimed of a strategy: each of three comparisons is needed, and the one that failed is named."""

from dataclasses import replace

import pytest

from flag_kedro.backtest.collapse import Collapse
from flag_kedro.backtest.intervals import Difference
from flag_kedro.backtest.verdict import (
    Correction,
    Evidence,
    compare_to_rivals,
    correct_p_values,
    is_ahead,
    verdict,
)

ABOVE = Difference(1.2, (0.3, 2.1), 0.01)
BELOW = Difference(-1.2, (-2.1, -0.3), 0.01)
UNSURE = Difference(0.4, (-0.4, 1.2), 0.31)
NONE = Difference(None, None, None)
LEVEL = Difference(0.0, (0.0, 0.0), 1.0)
SHIFTS = "time shifts of its own positions"
AHEAD = Evidence(
    sharpe_difference=ABOVE,
    cash_difference=Difference(2.0, (0.5, 3.5), 0.02),
    shift_p_value=0.03,
    sessions_needed=1_240,
    deflated_sharpe_ratio=0.99,
    num_trials=1,
)
COLLAPSES = {
    name: Collapse(
        actions={}, agreement_long=shares[0], agreement_flat=shares[1], agreement_short=shares[2], action_entropy=0.0,
        policy_entropy=None, collapsed_to=name,
    )
    for name, shares in {
        "buy_and_hold": (0.99, 0.01, 0.0), "flat": (0.02, 0.98, 0.0), "short": (0.03, 0.0, 0.97), None: (0.5, 0.3, 0.2)
    }.items()
}  # fmt: skip


def correction(holm: float, num_tests: int = 6) -> Correction:
    return Correction(p_value=0.03, num_tests=num_tests, holm=holm, false_discovery_rate=holm)


def say(collapsed_to: str | None = None, corrected: Correction | None = None, **changes: object) -> str:
    """The sentence, which must grant a lead exactly where `is_ahead` does."""
    evidence, collapse = replace(AHEAD, **changes), COLLAPSES[collapsed_to]
    sentence = verdict("flag_trader", collapse, evidence, corrected)
    assert is_ahead(collapse, evidence, corrected) is ("in Sharpe ratio above buy and hold" in sentence)
    return sentence.removeprefix("flag_trader is ").removesuffix(".")


def test_lead_over_all_three_is_granted_with_size_and_the_largest_p_value() -> None:
    assert (
        say() == f"ahead of buy and hold, of cash and of {SHIFTS}: p = 0.03, by 1.20 in Sharpe ratio above buy and hold"
    )
    assert AHEAD.lead_p_value == 0.03


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"sharpe_difference": UNSURE}, "not distinguishable from buy and hold (p = 0.31, 1,240 sessions would be nee"),
        ({"sharpe_difference": LEVEL}, "level with buy and hold"),
        ({"cash_difference": UNSURE}, "not distinguishable from cash (p = 0.31)"),
        ({"cash_difference": BELOW}, "below cash (p = 0.01)"),
        ({"cash_difference": NONE}, "not comparable with cash"),
        ({"shift_p_value": 0.2}, f"not above {SHIFTS} (p = 0.2)"),
        ({"shift_p_value": None}, f"not comparable with {SHIFTS}"),
    ],
)
def test_each_of_the_three_is_needed_and_the_sentence_says_which_failed(
    changes: dict[str, object], failed: str
) -> None:
    sentence = say(**changes)
    assert sentence.startswith("not proven ahead: ")
    assert failed in sentence
    passed = {"above buy and hold (p = 0.01)", "above cash (p = 0.02)", f"and above {SHIFTS} (p = 0.03)"}
    assert sum(part in sentence for part in passed) == 2


def test_lag_is_given_with_its_size() -> None:
    assert say(sharpe_difference=BELOW) == "behind buy and hold in Sharpe ratio by 1.20: p = 0.01"


@pytest.mark.parametrize("p_value", [0.01, 0.9])
def test_strategy_that_always_holds_one_position_is_called_so_whatever_the_tests_say(p_value: float) -> None:
    assert say("buy_and_hold", shift_p_value=p_value) == "buy and hold: its target is long in 99.0% of sessions"
    for position, share in (("flat", "98.0%"), ("short", "97.0%")):
        expected = f"always {position} ({share} of sessions), which is no skill at timing"
        assert say(position, shift_p_value=p_value) == expected


@pytest.mark.parametrize("deflated", [0.62, None])
def test_lead_of_one_among_many_trials_must_survive_deflation(deflated: float | None) -> None:
    assert "but not after 40 trials: deflated Sharpe ratio" in say(deflated_sharpe_ratio=deflated, num_trials=40)
    assert "in Sharpe ratio above" in say(deflated_sharpe_ratio=0.96, num_trials=40)
    unknown = say(deflated_sharpe_ratio=None, num_trials=None)
    assert unknown.endswith("(p = 0.03), but not proven so: how often the window was tried is not known")


def test_lead_on_one_of_several_symbols_must_survive_the_correction() -> None:
    assert say(corrected=correction(0.18)).endswith("(p = 0.03), but not after 6 symbols: p = 0.18")
    assert say(corrected=correction(0.04)).startswith(f"ahead of buy and hold, of cash and of {SHIFTS}: p = 0.04, by")


def test_undefined_ratios_are_named() -> None:
    assert "not comparable with buy and hold: a Sharpe ratio" in say(sharpe_difference=NONE)
    assert "too few of its returns vary" in say(sharpe_difference=Difference(0.4, None, None))


def test_holm_and_benjamini_hochberg_as_worked_by_hand() -> None:
    """Four tests: Holm multiplies the sorted p-values by 4, 3, 2, 1, the other by 4, 2, 4/3, 1, both kept in order."""
    corrected = correct_p_values({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert {name: one.holm for name, one in corrected.items()} == pytest.approx(
        {"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06}
    )
    assert {name: one.false_discovery_rate for name, one in corrected.items()} == pytest.approx(
        {"d": 0.02, "a": 0.02, "c": 0.04, "b": 0.04}
    )
    assert {(one.num_tests, one.p_value) for one in corrected.values()} == {(4, 0.01), (4, 0.04), (4, 0.03), (4, 0.005)}


def test_a_symbol_whose_test_is_undefined_was_asked_for_like_the_others() -> None:
    corrected = correct_p_values({"a": 0.03, "b": None, "c": None})
    assert list(corrected) == ["a"]
    assert (corrected["a"].num_tests, corrected["a"].holm) == (3, pytest.approx(0.09))
    assert correct_p_values({"a": None}) == {}


def test_rivals_are_told_apart_only_where_a_paired_test_does() -> None:
    rivals = compare_to_rivals("flag_trader", {"text_ridge": UNSURE, "bag": ABOVE, "other": BELOW, "same": NONE})
    assert rivals.verdict == (
        "flag_trader is not distinguishable from text_ridge (p = 0.62), above bag (p = 0.04), below other (p = 0.04) "
        "and not comparable with same."
    )
    assert compare_to_rivals("flag_trader", {}).verdict == ""
