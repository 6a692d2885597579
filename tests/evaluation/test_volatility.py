"""Forecasts of volatility against hand-worked numbers, pandas and arch."""

import numpy as np
import pandas as pd
import pytest
from arch.univariate import HARX

from flag_kedro.data.realised import realised_variance
from flag_kedro.errors import DataError
from flag_kedro.evaluation.volatility import ewma_variance, fit_har, har_regressors


@pytest.fixture
def returns() -> np.ndarray:
    """Two years of returns whose volatility has regimes; the first close has none."""
    generator = np.random.default_rng(2)
    volatility = np.repeat(generator.choice([0.005, 0.02], 25), 20)
    return np.concatenate([[np.nan], volatility * generator.standard_normal(500)])


def test_realised_variance_is_of_the_sessions_after():
    found = realised_variance(np.array([np.nan, 0.1, 0.2, 0.3, 0.4]), horizon=2)
    np.testing.assert_allclose(found, [0.05, 0.13, 0.25, np.nan, np.nan])


def test_ewma_is_that_of_pandas_and_passes_over_what_is_not_there(returns: np.ndarray):
    expected = pd.Series(returns[1:] ** 2).ewm(alpha=0.06, adjust=False).mean().to_numpy()
    np.testing.assert_allclose(ewma_variance(returns, horizon=5)[1:], 5 * expected)
    gap = np.array([np.nan, 0.1, np.nan, 0.2])
    np.testing.assert_allclose(ewma_variance(gap, 1, 0.5), [np.nan, 0.01, 0.01, 0.025])


def test_har_is_that_of_arch(returns: np.ndarray):
    squares = returns[1:] ** 2
    expected = HARX(squares, lags=[1, 5, 22], rescale=False).fit(disp="off").params.to_numpy()[:4]
    fitted = fit_har(har_regressors(returns), realised_variance(returns, 1), np.ones(len(returns), dtype=bool))
    np.testing.assert_allclose(fitted.coefficients, expected, rtol=1e-6)


def test_regressors_end_at_the_session_and_begin_with_a_full_month(returns: np.ndarray):
    found = har_regressors(returns)
    assert np.isnan(found[:22]).any(axis=1).all()
    np.testing.assert_allclose(found[30], [returns[30] ** 2, (returns[26:31] ** 2).mean(), (returns[9:31] ** 2).mean()])


def test_what_comes_later_changes_no_forecast(returns: np.ndarray):
    usable = np.arange(len(returns)) < 300
    changed = returns.copy()
    changed[400:] *= 7.0
    for before, after in (
        (ewma_variance(returns), ewma_variance(changed)),
        (har_regressors(returns), har_regressors(changed)),
    ):
        np.testing.assert_array_equal(before[:400], after[:400])
    fits = [fit_har(har_regressors(each), realised_variance(each), usable) for each in (returns, changed)]
    np.testing.assert_array_equal(fits[0].coefficients, fits[1].coefficients)


def test_forecasts_stay_within_what_was_ever_seen(returns: np.ndarray):
    targets, usable = realised_variance(returns), np.arange(len(returns)) < 300
    fitted = fit_har(har_regressors(returns), targets, usable)
    wild = fitted.forecast(np.array([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0], [np.nan, 0.0, 0.0]]))
    seen = targets[usable & ~np.isnan(har_regressors(returns)).any(axis=1)]
    assert (wild[:2].max(), wild[:2].min()) == pytest.approx((seen.max(), seen.min()))
    assert np.isnan(wild[2])


def test_too_little_to_fit_on_is_told(returns: np.ndarray):
    with pytest.raises(DataError, match=r"HAR needs 30 sessions .* the training window has 18"):
        fit_har(har_regressors(returns), realised_variance(returns), np.arange(len(returns)) < 40)
