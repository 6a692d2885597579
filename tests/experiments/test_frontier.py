"""Return against risk of what a sweep tried."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flag_kedro.backtest.metrics import conditional_value_at_risk
from flag_kedro.backtest.replay import replay
from flag_kedro.env.account import HOLD, SELL
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.evaluation import EvaluationWindow
from flag_kedro.env.states import Decisions
from flag_kedro.env.window import TradingWindow
from flag_kedro.experiments.frontier import (
    ANNUAL_RETURN,
    DRAWDOWN,
    TAIL_RISK,
    FrontierPoint,
    risk_frontier,
    validation_log_returns,
)
from flag_kedro.experiments.frontier_plot import plot_frontier

NUM = 40
DATES = ("2024-01-01", "2024-02-10")


def test_conditional_value_at_risk_is_the_mean_of_the_worst_share() -> None:
    returns = np.array([0.01, -0.04, 0.02, -0.01, 0.0, 0.03, -0.02, 0.01, 0.02, 0.01])
    assert conditional_value_at_risk(returns, 0.2) == pytest.approx((0.04 + 0.02) / 2)
    assert conditional_value_at_risk(returns, 0.25) == pytest.approx((0.04 + 0.02 + 0.01 / 2) / 2.5)
    assert conditional_value_at_risk(np.stack([returns, 2 * returns]), 0.1) == pytest.approx([0.04, 0.08])


@given(returns=st.lists(st.floats(-0.2, 0.2), min_size=1, max_size=40), level=st.sampled_from([0.05, 0.1, 0.37]))
def test_conditional_value_at_risk_is_the_least_of_rockafellar_and_uryasev(returns: list[float], level: float) -> None:
    losses = -np.array(returns)
    least = min(z + np.maximum(losses - z, 0.0).mean() / level for z in losses)
    assert conditional_value_at_risk(-losses, level) == pytest.approx(least, abs=1e-12)


def _combination(params: str, paths: list[list[float]], *, is_base: bool = False) -> dict[str, Any]:
    return {"params": params, "validation_log_returns": paths, "is_base": is_base}


@pytest.fixture
def evaluation(make_window: Callable[..., TradingWindow]) -> EvaluationWindow:
    """A symbol that doubles at once and then falls by half."""
    window = make_window("next_open", A=[10.0] * 2 + [20.0] * 20 + [10.0] * (NUM - 21))
    return EvaluationWindow(window, EnvConfig(cost_bps=0, slippage_bps=0), DATES, {"A": "XNYS"})


@pytest.fixture
def results() -> dict[str, Any]:
    """Steady; more, with a fall by 10 %; less than steady, with a fall by 1 %; the fall alone."""
    steady, more = [0.001] * NUM, [0.01] * (NUM - 1) + [float(np.log(0.9))]
    less = [0.0005] * (NUM - 1) + [float(np.log(0.99))]
    fall = [0.0] * (NUM - 1) + [float(np.log(0.9))]
    return {
        "seeds": [1],
        "windows": {"validation": list(DATES)},
        "combinations": [
            _combination("steady", [steady]),
            _combination("more", [more], is_base=True),
            _combination("less", [less]),
            _combination("fall", [fall, fall, more]),
        ],
    }


def test_points_are_worked_by_hand_and_tell_what_dominates(
    results: dict[str, Any], evaluation: EvaluationWindow
) -> None:
    steady, more, less, fall, held = risk_frontier(results, evaluation, 0)
    assert steady.values == pytest.approx({ANNUAL_RETURN: np.expm1(0.252), DRAWDOWN: 0.0, TAIL_RISK: -0.001})
    tail = (-np.log(0.9) - 0.01) / 2  # two of forty are the worst share of 5 %
    year = np.expm1((0.39 + np.log(0.9)) / 40 * 252)
    assert more.values == pytest.approx({ANNUAL_RETURN: year, DRAWDOWN: 0.1, TAIL_RISK: tail})
    assert fall.values[ANNUAL_RETURN] == pytest.approx(0.9 ** (252 / 40) - 1)  # the median of three seeds
    assert [point.efficient for point in (steady, more)] == [{DRAWDOWN: True, TAIL_RISK: True}] * 2
    assert [point.efficient for point in (less, fall)] == [{DRAWDOWN: False, TAIL_RISK: False}] * 2
    assert held.values[DRAWDOWN] == pytest.approx(0.5)
    assert [point.kind for point in (steady, more, held)] == ["tried", "base", "benchmark"]


def test_intervals_come_from_the_seed_and_hold_the_steady_path(
    results: dict[str, Any], evaluation: EvaluationWindow
) -> None:
    one, again, other = (risk_frontier(results, evaluation, seed) for seed in (0, 0, 1))
    assert one == again
    assert [point.values for point in one] == [point.values for point in other]
    assert one != other
    assert one[0].intervals[ANNUAL_RETURN] == pytest.approx((np.expm1(0.252),) * 2)
    low, high = one[1].intervals[DRAWDOWN]
    assert 0.0 <= low < 0.1 < high <= 0.4


def test_the_figure_joins_what_is_not_dominated_and_marks_the_base(
    results: dict[str, Any], evaluation: EvaluationWindow
) -> None:
    points = risk_frontier(results, evaluation, 0)
    traces = json.loads(plot_frontier(points, results).to_json())["data"]
    joined = [trace for trace in traces if trace["name"] == "not dominated"]
    assert [trace["x"] for trace in joined] == [pytest.approx([0.0, 10.0]), pytest.approx([-0.1, 100 * _tail(points)])]
    base = [trace["text"] for trace in traces if trace["name"] == "the run's own parameters"]
    assert base == [["more"]] * 2
    assert "not in the grid" not in plot_frontier(points, results).layout.title.text
    without = [point for point in points if point.kind != "base"]
    assert "not in the grid" in plot_frontier(without, results).layout.title.text


def _tail(points: list[FrontierPoint]) -> float:
    return points[1].values[TAIL_RISK]


def test_a_ruined_account_has_lost_all_and_is_never_joined(
    results: dict[str, Any], evaluation: EvaluationWindow
) -> None:
    ruined = [0.5] * 20 + [None] * (NUM - 20)
    results["combinations"].append(_combination("ruined", [ruined]))
    *_, lost, held = risk_frontier(results, evaluation, 0)
    assert lost.values == {ANNUAL_RETURN: -1.0, DRAWDOWN: 1.0, TAIL_RISK: pytest.approx(np.log(10_000.0))}
    assert lost.efficient == {DRAWDOWN: False, TAIL_RISK: False}
    assert np.isfinite(list(lost.intervals.values())).all()
    assert held.values[DRAWDOWN] == pytest.approx(0.5)
    page = plot_frontier(risk_frontier(results, evaluation, 0), results).to_json()
    json.loads(page, parse_constant=pytest.fail)


def test_what_was_pruned_is_drawn_but_neither_joined_nor_in_the_way_of_others(
    results: dict[str, Any], evaluation: EvaluationWindow
) -> None:
    results["combinations"][0] |= {"pruned": True, "pruned_at": {"1": 3}}
    steady, more, less, *_ = points = risk_frontier(results, evaluation, 0)
    assert steady.kind == "pruned"
    assert steady.efficient == {DRAWDOWN: False, TAIL_RISK: False}
    assert [each.efficient for each in (more, less)] == [{DRAWDOWN: True, TAIL_RISK: True}] * 2
    traces = json.loads(plot_frontier(points, results).to_json())["data"]
    assert [trace["text"] for trace in traces if trace["name"] == "pruned"] == [["steady"]] * 2


def test_one_ruined_seed_of_three_leaves_the_median_to_the_others(
    results: dict[str, Any], evaluation: EvaluationWindow
) -> None:
    ruined, steady = [0.0, *[None] * (NUM - 1)], results["combinations"][0]["validation_log_returns"][0]
    results["combinations"] = [_combination("mixed", [ruined, steady, steady])]
    mixed, _ = risk_frontier(results, evaluation, 0)
    assert mixed.values == pytest.approx({ANNUAL_RETURN: np.expm1(0.252), DRAWDOWN: 0.0, TAIL_RISK: -0.001})


def test_returns_of_a_ruined_account_are_fit_for_json(make_window: Callable[..., TradingWindow]) -> None:
    """A short position is worth nothing once the price has doubled and doubled again."""
    window = replace(make_window("next_close", A=[10.0, 10.0, 10.0, 40.0, 40.0, 40.0]), positions="long_short")
    env = EnvConfig(fill="next_close", positions="long_short", cost_bps=0, slippage_bps=0)
    played = replay("short", window, env, lambda states: Decisions(np.where(states.action_mask[:, SELL], SELL, HOLD)))
    returns = validation_log_returns(played.equity)
    assert returns[:2] == pytest.approx([0.0, 0.0], abs=1e-4)
    assert returns[2:] == [None] * 3
    json.dumps(returns, allow_nan=False)
