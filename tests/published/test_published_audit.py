"""What printed numbers imply: hand-worked cases, and bounds against every path there is."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flag_kedro.backtest.scores import investorbench_scores
from flag_kedro.published.audit import (
    agreeing_metrics,
    ceiling_from_hold_row,
    exceeds,
    flat_days,
    implied_days,
    rank,
    rescaled_sharpe,
    same_series,
    volatility_ceiling,
)
from flag_kedro.published.results import PublishedRow

RETURNS = np.array([0.012, -0.02, 0.031, -0.007, -0.015, 0.004])


def printed(cr: float, sr: float = 1.0, av: float = 0.2, mdd: float = 0.1) -> PublishedRow:
    """A row rounded as the table is: three decimals of a percentage."""
    return PublishedRow(
        model="A",
        symbol="MSFT",
        cumulative_return=round(cr, 5),
        sharpe_ratio=round(sr, 3),
        annual_volatility=round(av, 5),
        max_drawdown=round(mdd, 5),
    )


def score(positions: np.ndarray, returns: np.ndarray, days: int) -> PublishedRow:
    """The row that the benchmark's own scorer prints."""
    closes = np.exp(np.concatenate([[0.0], np.cumsum(returns)]))
    scores = investorbench_scores(np.append(positions, 0), closes, days_mean=252, days_volatility=days)
    total, volatility = scores["cumulative_return"], scores["annual_volatility"]
    assert total is not None
    assert volatility is not None
    return printed(total, 1.0, volatility)


def test_days_are_mean_days_times_return_over_sharpe_times_volatility():
    implied = implied_days(printed(0.1, 2.0, 0.1), 252)  # 252 x 0.1 / 0.2
    assert implied is not None
    assert implied.estimate == pytest.approx(126.0)
    assert implied.integers == (126,)
    assert implied.low == pytest.approx(125.9559, abs=1e-4)  # 252 x 0.099995 / (2.0005 x 0.100005)
    assert implied.high == pytest.approx(126.0441, abs=1e-4)  # 252 x 0.100005 / (1.9995 x 0.099995)


def test_same_row_with_365_days_in_the_mean_implies_more():
    implied = implied_days(printed(0.1, 2.0, 0.1), 365)
    assert implied is not None
    assert implied.estimate == pytest.approx(182.5)
    assert implied.integers == ()  # 182.44 to 182.56


@given(
    days=st.integers(60, 300),
    total=st.floats(-0.6, 0.6),
    volatility=st.floats(0.02, 0.9),
    mean=st.sampled_from([252, 365]),
)
def test_true_number_of_days_is_never_outside_the_interval(days: int, total: float, volatility: float, mean: int):
    row = printed(total, total / (days / mean) / volatility, volatility)
    implied = implied_days(row, mean)
    assume(implied is not None)
    assert implied is not None
    assert implied.low <= days <= implied.high
    assert days in implied.integers


@pytest.mark.parametrize("row", [printed(0.1, -0.5), printed(0.0, 0.0), printed(0.1, 0.0)])
def test_rows_that_imply_no_days(row: PublishedRow):
    assert implied_days(row, 252) is None


@pytest.mark.parametrize("days", [252, 365])
def test_no_positions_are_more_volatile_than_the_ceiling(days: int):
    """All 729 ways to be long, short or flat on six returns."""
    ceiling = volatility_ceiling(RETURNS, days)
    every = [score(np.array(held), RETURNS, days) for held in itertools.product((-1, 0, 1), repeat=len(RETURNS))]
    assert not any(exceeds(row, ceiling) for row in every)
    assert max(row.annual_volatility for row in every) > 0.99 * ceiling


def test_ceiling_is_reached_when_gains_and_losses_cancel():
    returns = np.array([0.01, -0.01, 0.01, -0.01])  # mean 0: the variance is the mean square
    assert volatility_ceiling(returns, 252) == pytest.approx(math.sqrt(4e-4 / 3 * 252))
    assert score(np.ones(4, dtype=int), returns, 252).annual_volatility == round(volatility_ceiling(returns, 252), 5)


@pytest.mark.parametrize(("row_days", "days"), [(252, 252), (252, 365), (365, 252)])
def test_buy_and_hold_row_alone_gives_the_ceiling(row_days: int, days: int):
    row = score(np.ones(len(RETURNS), dtype=int), RETURNS, row_days)
    ceiling = ceiling_from_hold_row(row, len(RETURNS), row_days, days)
    exact = volatility_ceiling(RETURNS, days)
    assert exact <= ceiling <= exact + 3e-5


def test_volatility_is_above_the_ceiling_only_beyond_rounding():
    row = printed(0.1, av=0.25)
    assert exceeds(row, 0.24999)
    assert not exceeds(row, 0.249996)  # prints as 25.000 %


@pytest.mark.parametrize("days", [252, 365])
def test_every_long_or_flat_path_is_found_possible(days: int):
    """All 64 ways to miss days: what they added is never more than the bound."""
    for held in itertools.product((0, 1), repeat=len(RETURNS)):
        case = flat_days(score(np.array(held), RETURNS, days), RETURNS, days)
        assert case.possible, held
        assert case.needed == pytest.approx(-RETURNS[np.array(held) == 0].sum(), abs=1e-5)


def test_flat_days_miss_the_smallest_falls_first_and_the_last_in_part():
    """Squares 1, 1, 4, 4 (x 1e-4); the row holds 7 of these 10, so 3 were missed: all of -0.01 and half of -0.02."""
    returns = np.array([0.01, -0.01, 0.02, -0.02])
    row = printed(0.0, av=math.sqrt(7e-4 / 3 * 252))
    case = flat_days(row, returns, 252)
    assert case.at_most == pytest.approx(0.01 + 0.5 * 0.02, abs=1e-5)
    assert case.needed == pytest.approx(0.0)
    assert case.num_returns == 4


def test_flat_days_cannot_add_more_than_all_falls():
    case = flat_days(printed(0.0, av=0.0), np.array([0.01, -0.01, 0.02, -0.02]), 252)
    assert case.at_most == pytest.approx(0.03)


def test_return_beyond_what_flat_days_add_is_impossible():
    returns = np.array([0.01, -0.01, 0.02, -0.02])
    volatility = math.sqrt((7e-4 - 0.03**2 / 4) / 3 * 252)
    assert not flat_days(printed(0.03, av=volatility), returns, 252).possible


def test_row_more_volatile_than_holding_every_day_leaves_no_room():
    case = flat_days(printed(0.0, av=0.5), np.array([0.01, -0.01, 0.02, -0.02]), 252)
    assert case.at_most is None
    assert not case.possible


def test_short_positions_reach_what_long_or_flat_ones_cannot():
    """Short in every fall: as volatile as holding, and with a return that no flat day gives."""
    row = score(np.sign(RETURNS).astype(int), RETURNS, 252)
    assert row.cumulative_return == pytest.approx(np.abs(RETURNS).sum(), abs=1e-5)
    assert not flat_days(row, RETURNS, 252).possible


def test_metrics_agree_to_the_printed_decimals():
    scores = {
        "cumulative_return": 0.1000049,
        "sharpe_ratio": 1.0006,
        "annual_volatility": 0.2,
        "max_drawdown": None,
    }
    assert agreeing_metrics(printed(0.1), scores) == ("cumulative_return", "annual_volatility")


@pytest.mark.parametrize(
    ("total", "volatility", "same"),
    [(0.34342, 0.28779, True), (0.34309, 0.28779, False), (0.34342, 0.28790, False)],
)
def test_same_series_has_one_return_and_volatilities_in_the_given_ratio(total: float, volatility: float, same: bool):
    other = printed(0.34342, av=0.23913)
    assert same_series(printed(total, av=volatility), other, math.sqrt(365 / 252)) is same


def test_sharpe_grows_when_its_volatility_gets_the_smaller_root():
    assert rescaled_sharpe(printed(0.1, 1.0), 365, 252) == pytest.approx(1.203501)
    assert rescaled_sharpe(printed(0.1, 1.0), 252, 252) == 1.0


def test_equal_values_share_the_better_rank():
    assert [rank([3.0, 5.0, 3.0, 1.0], index) for index in range(4)] == [2, 1, 2, 4]
