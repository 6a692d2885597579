"""Formulas over the last axis, against empyrical and by hand."""

import math

import empyrical
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flag_kedro.backtest import metrics

SERIES = st.tuples(
    st.integers(0, 2**32 - 1), st.integers(60, 400), st.floats(-0.002, 0.002), st.sampled_from([252, 365])
)


def _series(seed: int, num: int, mean: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 0.01, num)


@given(drawn=SERIES)
def test_ratios_agree_with_empyrical(drawn: tuple[int, int, float, int]) -> None:
    seed, num, mean, days = drawn
    returns = _series(seed, num, mean)
    log, simple = pd.Series(returns), pd.Series(np.expm1(returns))
    near = {"rel": 1e-12, "abs": 1e-12}
    drawdown = metrics.max_drawdown(metrics.equity_path(returns))
    assert metrics.sharpe_ratio(returns, days) == pytest.approx(empyrical.sharpe_ratio(log, annualization=days), **near)
    assert metrics.sortino_ratio(returns, days) == pytest.approx(
        empyrical.sortino_ratio(log, annualization=days), **near
    )
    assert metrics.annual_volatility(returns, days) == pytest.approx(
        empyrical.annual_volatility(log, annualization=days), **near
    )
    assert drawdown == pytest.approx(-empyrical.max_drawdown(simple), **near)
    assert metrics.calmar_ratio(returns, drawdown, days) == pytest.approx(
        empyrical.calmar_ratio(simple, annualization=days), **near
    )


@given(drawn=SERIES, cash=st.floats(0.0, 0.001))
def test_cash_is_taken_off_as_empyrical_does(drawn: tuple[int, int, float, int], cash: float) -> None:
    seed, num, mean, days = drawn
    returns = _series(seed, num, mean)
    expected = empyrical.sharpe_ratio(pd.Series(returns), risk_free=cash, annualization=days)
    assert metrics.sharpe_ratio(returns - cash, days) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_rows_of_an_array_are_scored_as_alone() -> None:
    rng = np.random.default_rng(0)
    returns, held = rng.normal(0.0, 0.01, (2, 3, 30)), rng.integers(0, 2, (2, 3, 30)) == 1
    formulas = {
        "cumulative_return": lambda r, h: metrics.cumulative_return(r),
        "total_return": lambda r, h: metrics.total_return(r),
        "sharpe_ratio": lambda r, h: metrics.sharpe_ratio(r, 252),
        "sortino_ratio": lambda r, h: metrics.sortino_ratio(r, 252),
        "annual_volatility": lambda r, h: metrics.annual_volatility(r, 252),
        "max_drawdown": lambda r, h: metrics.max_drawdown(metrics.equity_path(r)),
        "calmar_ratio": lambda r, h: metrics.calmar_ratio(r, metrics.max_drawdown(metrics.equity_path(r)), 252),
        "win_rate": metrics.win_rate,
        "exposure": lambda r, h: metrics.exposure(h),
        "num_trades": lambda r, h: metrics.num_trades(np.maximum(r, 0.0)),
        "turnover": lambda r, h: metrics.turnover(np.abs(r), np.abs(r).mean(-1) + 1.0, 252),
    }
    for name, formula in formulas.items():
        together = formula(returns, held)
        assert together.shape == (2, 3), name
        assert together[1, 2] == pytest.approx(float(formula(returns[1, 2], held[1, 2])), rel=1e-12), name


def test_sortino_ratio_divides_by_all_sessions_not_by_the_losing_ones() -> None:
    # mean 1 %, losses of 1 % in two of four: root of (1e-4 + 1e-4) / 4
    returns = np.array([0.03, -0.01, 0.03, -0.01])
    assert metrics.sortino_ratio(returns, 100) == pytest.approx(0.01 / math.sqrt(0.5e-4) * 10.0)


def test_calmar_ratio_compounds_to_a_year() -> None:
    # two of eight sessions a year: down to 0.8, up to 1.1; 1.1^4 - 1 over 0.2
    returns = np.log([0.8, 1.1 / 0.8])
    drawdown = metrics.max_drawdown(metrics.equity_path(returns))
    assert metrics.calmar_ratio(returns, drawdown, 8) == pytest.approx((1.1**4 - 1.0) / 0.2)


@pytest.mark.filterwarnings("error")
def test_what_is_not_defined_is_nan_beside_rows_that_are() -> None:
    returns = np.stack([np.zeros(4), np.full(4, 0.01), np.array([0.02, -0.01, 0.0, 0.01])])
    drawdown = metrics.max_drawdown(metrics.equity_path(returns))
    held = np.array([[False] * 4, [True] * 4, [True] * 4])
    for values in (
        metrics.sharpe_ratio(returns, 252),
        metrics.sortino_ratio(returns, 252),
        metrics.calmar_ratio(returns, drawdown, 252),
    ):
        assert np.isnan(values).tolist() == [True, True, False]
    assert np.isnan(metrics.win_rate(returns, held)).tolist() == [True, False, False]
    assert np.isnan(metrics.sharpe_ratio(returns[:, :1], 252)).all()
    assert np.isnan(metrics.calmar_ratio(np.array([0.0, 10.0, -1.0]), np.array(0.5), 252))  # e^756 is no number
    assert np.isnan(metrics.sortino_ratio(returns[:, :0], 252)).all()


def test_short_position_counts_as_exposure_and_a_reversal_as_one_trade() -> None:
    positions = np.array([1, -1, 0, -1])
    assert metrics.exposure(positions != 0) == 0.75
    assert metrics.num_trades(np.array([1_000.0, 2_000.0, 0.0, 500.0])) == 3
