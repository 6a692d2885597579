"""Numbers as the page prints them."""

import math
from typing import Any

import pytest

from flag_kedro.backtest.report_terms import COLLAPSE, METRICS, ROBUSTNESS, STATISTICS, show, show_fact, show_interval
from flag_kedro.errors import DataError


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.50034, "percent", "50.03"),
        (-0.00001, "percent", "0.00"),
        (1.2345, "ratio", "1.23"),
        (0.0414, "probability", "0.041"),
        (0.0414, "p_value", "0.041"),
        (0.0005, "p_value", "0.0005"),
        (1e-9, "p_value", "<0.0001"),
        (1320, "count", "1,320"),
        (1234567.8, "money", "1,234,568"),
        (None, "percent", "-"),
        (None, "money", "-"),
    ],
)
def test_numbers(value: float | None, unit: Any, text: str) -> None:
    assert show(value, unit) == text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(DataError, match="an undefined number must be None"):
        show(value, "ratio")


def test_intervals() -> None:
    assert show_interval([-0.01, 0.25], "percent") == "[-1.00, 25.00]"
    assert show_interval(None, "percent") == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (["2024-01-01", "2024-01-06"], "2024-01-01 to 2024-01-06"),
        (["A", "B"], "A, B"),
        ({"A": 252, "B": 365}, "A 252, B 365"),
        (5.0, "5"),
        (None, "-"),
        (False, "False"),
    ],
)
def test_facts(value: Any, text: str) -> None:
    assert show_fact(value) == text


def test_every_term_is_explained_once() -> None:
    terms = (*METRICS, *STATISTICS, *ROBUSTNESS, *COLLAPSE)
    assert len({term.key for term in terms}) == len({term.label for term in terms}) == len(terms)
    assert all(term.meaning for term in terms)
