"""Value at risk from a forecast of variance, and tests of whether it was crossed as often and as irregularly as said.

Shape legend: n = sessions in the order of time.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import xlogy

from flag_kedro.env.account import Bools, Floats

LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How often losses crossed the value at risk; saved as JSON in this order."""

    num: int
    num_crossed: int
    share: float
    kupiec_p_value: float
    """Of the share that was promised (Kupiec 1995, Journal of Derivatives 3(2))."""
    independence_p_value: float | None
    """Of a crossing being as likely behind a crossing as behind none (Christoffersen 1998, International Economic
    Review 39(4)); None where no session could show it."""
    conditional_p_value: float | None
    """Of both together, two degrees of freedom."""


def filtered_quantile(log_returns: Floats, variances: Floats, level: float = LEVEL) -> float:
    """Quantile of standardised returns: filtered historical simulation (Barone-Adesi, Giannopoulos and Vosper 1999).

    Args:
        log_returns: of the training window, [n].
        variances: that were forecast for each of them, above 0, [n].
        level: share of the returns below it.
    """
    return float(np.quantile(log_returns / np.sqrt(variances), level))


def assess_coverage(crossed: Bools, level: float = LEVEL) -> Coverage:
    """Kupiec's test of unconditional coverage, Christoffersen's of independence, and both together.

    Args:
        crossed: whether each session's return was below the value at risk, [n].
        level: share that was promised.
    """
    num, hits = len(crossed), int(crossed.sum())
    unconditional = _likelihood_ratio(num - hits, hits, level)
    independence = _independence_ratio(crossed)
    return Coverage(
        num=num,
        num_crossed=hits,
        share=hits / num,
        kupiec_p_value=float(stats.chi2.sf(unconditional, 1)),
        independence_p_value=None if independence is None else float(stats.chi2.sf(independence, 1)),
        conditional_p_value=None if independence is None else float(stats.chi2.sf(unconditional + independence, 2)),
    )


def _log_likelihood(misses: int, hits: int, share: float) -> float:
    return float(xlogy(misses, 1.0 - share) + xlogy(hits, share))


def _likelihood_ratio(misses: int, hits: int, share: float) -> float:
    """Twice the logarithm of what the observed share makes likelier than `share`."""
    return 2.0 * (_log_likelihood(misses, hits, hits / (misses + hits)) - _log_likelihood(misses, hits, share))


def _independence_ratio(crossed: Bools) -> float | None:
    """Of a first-order Markov chain against independence; None where there was no transition from a crossing."""
    before, after = crossed[:-1], crossed[1:]
    counts = np.array([[(before == was) & (after == then) for then in (False, True)] for was in (False, True)]).sum(-1)
    (n00, n01), (n10, n11) = counts.tolist()
    if n10 + n11 == 0 or n00 + n01 == 0:
        return None
    share = (n01 + n11) / (n00 + n01 + n10 + n11)
    chain = _log_likelihood(n00, n01, n01 / (n00 + n01)) + _log_likelihood(n10, n11, n11 / (n10 + n11))
    return 2.0 * (chain - _log_likelihood(n00 + n10, n01 + n11, share))
