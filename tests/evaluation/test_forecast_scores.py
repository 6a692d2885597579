"""Losses and their differences against statsmodels, and what luck alone rejects."""

import numpy as np
import pytest
import statsmodels.api as sm

from flag_kedro.evaluation.forecast_scores import compare_losses, qlike, squared_error


def test_losses_are_zero_at_the_truth_and_hand_worked_elsewhere():
    actual = np.array([1.0, 4.0])
    np.testing.assert_allclose(qlike(actual, actual), 0.0)
    np.testing.assert_allclose(qlike(actual, np.array([2.0, 2.0])), [0.5 + np.log(2) - 1, 2 - np.log(2) - 1])
    np.testing.assert_allclose(squared_error(actual, np.array([2.0, 2.0])), [1.0, 4.0])


@pytest.mark.parametrize("loss", [qlike, squared_error])
def test_the_expected_loss_is_least_at_the_true_variance_however_noisy_its_proxy(loss):
    squares = 2.0 * np.random.default_rng(3).chisquare(5, 200_000) / 5
    means = [loss(squares, np.full_like(squares, guess)).mean() for guess in (1.5, 2.0, 2.5)]
    assert means[1] < min(means[0], means[2])


def test_the_error_is_statsmodels_with_the_correction_for_short_samples():
    generator, horizon, num = np.random.default_rng(4), 5, 120
    difference = np.convolve(generator.standard_normal(num + 4), np.ones(5), "valid") + 0.3
    found = compare_losses(difference, np.zeros(num), horizon)
    assert found is not None
    fitted = sm.OLS(difference, np.ones(num)).fit(
        cov_type="HAC", cov_kwds={"maxlags": horizon - 1, "kernel": "uniform"}
    )
    corrected = fitted.bse[0] / np.sqrt((num + 1 - 2 * horizon + horizon * (horizon - 1) / num) / num)
    half = (found.ci95[1] - found.ci95[0]) / 2
    assert found.value == pytest.approx(difference.mean())
    assert half / corrected == pytest.approx(1.980, abs=0.001)  # Student's t with 119 degrees of freedom


def test_of_equal_forecasts_one_in_twenty_is_called_better():
    generator, rejected = np.random.default_rng(5), 0
    for _ in range(2000):
        noise = generator.standard_normal((2, 104))
        own, other = (np.convolve(row, np.ones(5), "valid") ** 2 for row in noise)
        found = compare_losses(own, other, 5)
        rejected += found is not None and found.p_value < 0.05
    assert 0.03 < rejected / 2000 < 0.08


def test_a_variance_that_would_be_negative_is_bartletts():
    difference = np.tile([1.0, -1.0], 20) + np.linspace(0.0, 0.1, 40)
    found = compare_losses(difference, np.zeros(40), 2)
    assert found is not None
    fitted = sm.OLS(difference, np.ones(40)).fit(cov_type="HAC", cov_kwds={"maxlags": 1})
    assert (found.ci95[1] - found.value) / fitted.bse[0] == pytest.approx(
        2.0227 * np.sqrt(40 / (37 + 2 / 40)), rel=1e-3
    )


def test_too_few_and_equal_losses_say_nothing():
    assert compare_losses(np.ones(19), np.zeros(19), 1) is None
    assert compare_losses(np.ones(50), np.zeros(50), 1) is None
