"""Tests of value at risk against published regions, scipy, vartests, and what luck alone rejects."""

import numpy as np
import pytest
from scipy import stats
from vartests import kupiec_test

from flag_kedro.evaluation.value_at_risk import assess_coverage, filtered_quantile

REGIONS = {
    (0.01, 255): (0, 7), (0.01, 510): (1, 11), (0.01, 1000): (4, 17),
    (0.05, 255): (6, 21), (0.05, 510): (16, 36), (0.05, 1000): (37, 65),
    (0.10, 255): (16, 36), (0.10, 510): (38, 65), (0.10, 1000): (81, 120),
}  # fmt: skip
"""Crossings between which (both excluded) the test does not reject at 5 %: Kupiec (1995). At 1 % of 255 sessions he
prints N < 7 alone; none at all is rejected too, with a ratio of 5.13."""


def crossings(num: int, hits: int) -> np.ndarray:
    return np.arange(num) < hits


@pytest.mark.parametrize(("level", "num"), list(REGIONS))
def test_kupiecs_regions_are_the_published_ones(level: float, num: int):
    low, high = REGIONS[level, num]
    kept = [hits for hits in range(num // 4) if assess_coverage(crossings(num, hits), level).kupiec_p_value >= 0.05]
    assert (min(kept), max(kept)) == (low + 1, high - 1)


@pytest.mark.parametrize("hits", [0, 3, 12, 13, 40, 250])
def test_kupiecs_p_value_is_that_of_vartests(hits: int):
    expected = kupiec_test(crossings(250, hits).astype(int), risk_conf_level=0.95, conf_level=0.95)
    expected = expected if isinstance(expected, dict) else vars(expected)
    value = next(value for name, value in expected.items() if "value" in name.lower() and "p" in name.lower())
    assert assess_coverage(crossings(250, hits)).kupiec_p_value == pytest.approx(float(value))


def test_independence_is_scipys_g_test_of_the_transitions():
    crossed = np.random.default_rng(6).random(400) < 0.1
    crossed[50:60] = True
    found = assess_coverage(crossed)
    table = np.array(
        [[np.sum((crossed[:-1] == was) & (crossed[1:] == then)) for then in (False, True)] for was in (False, True)]
    )
    expected = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood")
    assert found.independence_p_value == pytest.approx(expected.pvalue)
    both = stats.chi2.isf(found.kupiec_p_value, 1) + expected.statistic
    assert found.conditional_p_value == pytest.approx(stats.chi2.sf(both, 2))


def test_what_no_session_could_show_is_none():
    assert assess_coverage(crossings(100, 0)).independence_p_value is None
    assert assess_coverage(np.ones(100, dtype=bool)).independence_p_value is None
    last = np.zeros(100, dtype=bool)
    last[-1] = True
    assert assess_coverage(last).conditional_p_value is None


def test_who_says_the_truth_is_rejected_one_time_in_twenty():
    drawn = np.random.default_rng(7).random((2000, 500)) < 0.05
    rejected = np.mean([assess_coverage(row).kupiec_p_value < 0.05 for row in drawn])
    assert 0.03 < rejected < 0.08


def test_a_quantile_of_standardised_returns_scales_with_the_forecast():
    generator = np.random.default_rng(8)
    variances = generator.choice([1e-4, 4e-4], 100_000)
    returns = np.sqrt(variances) * generator.standard_normal(100_000)
    assert filtered_quantile(returns, variances) == pytest.approx(stats.norm.ppf(0.05), abs=0.02)
