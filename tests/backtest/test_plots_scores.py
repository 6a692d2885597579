"""Intervals and cost curves carry the numbers they are given."""

from typing import Any

import pytest

from flag_kedro.backtest.plots_scores import plot_cost_curve, plot_intervals

NOTHING = {"value": None, "ci95": None, "p_value": None}


@pytest.fixture
def scores(account_convention: dict[str, Any]) -> dict[str, Any]:
    results = {
        "flag_trader": {"sharpe_ratio": 1.2, "sharpe_ratio_ci95": [0.3, 2.0]},
        "buy_and_hold": {"sharpe_ratio": 0.5, "sharpe_ratio_ci95": None},
        "flat": {"sharpe_ratio": None, "sharpe_ratio_ci95": None},
    }
    return {"convention": account_convention, "results": {"A": results, "B": results}}


@pytest.fixture
def inference() -> dict[str, Any]:
    difference = {"value": 0.7, "ci95": [-0.4, 1.6], "p_value": 0.2}
    strategies = {"flag_trader": {"sharpe_difference": difference}, "flat": {"sharpe_difference": NOTHING}}
    return {"confidence": 0.95, "symbols": {"A": strategies, "B": strategies}}


def test_intervals_run_from_low_over_the_value_to_high(scores: dict[str, Any], inference: dict[str, Any]) -> None:
    figure = plot_intervals(scores, inference)
    drawn = [(trace.xaxis, trace.name, list(trace.x)) for trace in figure.data]
    assert drawn == [
        ("x", "flag_trader", [0.3, 1.2, 2.0]),
        ("x2", "flag_trader", [-0.4, 0.7, 1.6]),
        ("x", "buy_and_hold", [0.5]),
        ("x3", "flag_trader", [0.3, 1.2, 2.0]),
        ("x4", "flag_trader", [-0.4, 0.7, 1.6]),
        ("x3", "buy_and_hold", [0.5]),
    ]


def test_a_full_circle_means_that_the_interval_excludes_0(scores: dict[str, Any], inference: dict[str, Any]) -> None:
    sharpe, difference, without_interval = plot_intervals(scores, inference).data[:3]
    assert sharpe.marker.symbol[1] == "circle"
    assert difference.marker.symbol[1] == "circle-open"
    assert list(without_interval.marker.symbol) == ["circle-open"]


def test_the_policy_stands_on_top_and_undefined_ratios_keep_their_row(
    scores: dict[str, Any], inference: dict[str, Any]
) -> None:
    axis = plot_intervals(scores, inference).layout.yaxis
    assert list(axis.categoryarray) == ["flat", "buy_and_hold", "flag_trader"]
    assert tuple(axis.range) == (-0.6, 2.6)


def test_title_tells_confidence_and_convention(scores: dict[str, Any], inference: dict[str, Any]) -> None:
    title = plot_intervals(scores, inference).layout.title.text
    assert title.endswith("95% intervals; account, 2024-01-01 to 2024-01-06; fill next_open, 25 bp a trade</sup>")


def test_cost_curve_is_that_of_each_symbol_and_strategy(account_convention: dict[str, Any]) -> None:
    curves = {"flag_trader": {"cost_curve": [0.3, 0.1, -0.2]}, "flat": {"cost_curve": [0.0, 0.0, 0.0]}}
    sensitivity = {"cost_bps": [0, 10, 50], "symbols": {"A": curves, "B": {"flag_trader": {"cost_curve": [1, 2, 3]}}}}
    figure = plot_cost_curve(sensitivity, account_convention)
    assert [(line.xaxis, line.name, list(line.x), list(line.y)) for line in figure.data] == [
        ("x", "flag_trader", [0, 10, 50], [0.3, 0.1, -0.2]),
        ("x", "flat", [0, 10, 50], [0.0, 0.0, 0.0]),
        ("x2", "flag_trader", [0, 10, 50], [1, 2, 3]),
    ]
