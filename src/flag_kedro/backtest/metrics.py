"""Formulas of the scores, each over the last axis; docs/metrics.md says what every number means.

Shape legend: n = returns (sessions after the first), ... = any leading axes, such as bootstrap draws. Returns are
daily log returns as decimals, D = `days` is the number of sessions in a year. An undefined score is NaN.
"""

import numpy as np

from flag_kedro.env.account import Bools, Floats

TINY_STD = 1e-12
"""A standard deviation below this is a rounding error."""


def cumulative_return(returns: Floats) -> Floats:
    """Sum of log returns (the paper's CR), a decimal, [...]."""
    return np.asarray(returns.sum(-1))


def total_return(returns: Floats) -> Floats:
    """Compounded return exp(sum r) - 1, a decimal, [...]."""
    return np.asarray(np.expm1(returns.sum(-1)))


def annual_volatility(returns: Floats, days: int) -> Floats:
    """Standard deviation (ddof 1) x sqrt(D), a decimal a year, [...]; 0 for a path of equal returns."""
    return np.asarray(_std(returns) * np.sqrt(days))


def sharpe_ratio(excess: Floats, days: int) -> Floats:
    """Annualised Sharpe ratio mean / std (ddof 1) x sqrt(D), no unit, [...]; undefined where nothing varies.

    Args:
        excess: log returns less the cash log return of the same session, [..., n].
        days: sessions in a year.
    """
    return np.asarray(_ratio(_mean(excess), _std(excess)) * np.sqrt(days))


def sortino_ratio(excess: Floats, days: int) -> Floats:
    """Annualised mean / sqrt(mean(min(excess, 0)^2)) x sqrt(D), no unit, [...]; undefined without a loss.

    The mean under the root is over all n sessions, gains counting as 0.

    Args:
        excess: log returns less the cash log return of the same session, [..., n].
        days: sessions in a year.
    """
    losses = np.minimum(excess, 0.0)
    return np.asarray(_ratio(_mean(excess), np.sqrt(_mean(losses * losses))) * np.sqrt(days))


def equity_path(returns: Floats) -> Floats:
    """Value of 1 after 0, 1, ..., n log returns, [..., n + 1]."""
    path = np.zeros((*returns.shape[:-1], returns.shape[-1] + 1))
    np.cumsum(returns, axis=-1, out=path[..., 1:])
    return np.asarray(np.exp(path, out=path))


def max_drawdown(path: Floats) -> Floats:
    """Largest fall of `path` [..., n + 1] below its running peak, a share of it, [...]; its first value counts."""
    fallen: Floats = 1.0 - path / np.maximum.accumulate(path, axis=-1)
    return np.asarray(fallen.max(-1))


def conditional_value_at_risk(returns: Floats, level: float) -> Floats:
    """Mean loss -r of the worst share `level` of returns [..., n], a decimal, [...]; of a part of a session in part.

    Source: Rockafellar and Uryasev (2000), z + mean(max(-r - z, 0)) / level at the smallest loss z that at most a
    share `level` of the losses exceeds.
    """
    losses = -returns
    at_risk = np.quantile(losses, 1.0 - level, axis=-1, method="inverted_cdf", keepdims=True)
    beyond = np.maximum(losses - at_risk, 0.0)
    return np.asarray(at_risk[..., 0] + _mean(beyond) / level)


def calmar_ratio(returns: Floats, drawdown: Floats, days: int) -> Floats:
    """Compounded annual growth over the largest drawdown, ((1 + total)^(D / n) - 1) / drawdown, no unit, [...].

    Undefined without a drawdown, and where a few sessions compounded to a year exceed every number.

    Args:
        returns: log returns, [..., n].
        drawdown: of `max_drawdown`, [...].
        days: sessions in a year.
    """
    with np.errstate(over="ignore"):
        growth = np.expm1(_mean(returns) * days)
    ratio = _ratio(growth, drawdown)
    return np.where(np.isinf(ratio), np.nan, ratio)


def win_rate(returns: Floats, held: Bools) -> Floats:
    """Share of positive returns among sessions with a position, [...]; undefined without any.

    Args:
        returns: log returns, [..., n].
        held: whether there was a position over each, [..., n].
    """
    wins = np.count_nonzero((returns > 0.0) & held, axis=-1)
    return _ratio(np.asarray(wins, dtype=np.float64), np.asarray(np.count_nonzero(held, axis=-1), dtype=np.float64))


def exposure(invested: Floats) -> Floats:
    """Mean share of equity that was in a position, long or short, [...]."""
    return _mean(invested)


def num_trades(traded: Floats) -> Floats:
    """Sessions with traded value > 0, a count, [...]; a reversal from long to short counts once."""
    return np.asarray(np.count_nonzero(traded > 0.0, axis=-1), dtype=np.float64)


def turnover(traded: Floats, mean_equity: Floats, days: int) -> Floats:
    """Traded value / mean equity, times a year, [...]; buying and selling everything once is 2.

    Args:
        traded: value traded at each session, [..., n].
        mean_equity: over all n + 1 marks, [...].
        days: sessions in a year.
    """
    return _ratio(_mean(traded) * days, mean_equity)


def _mean(values: Floats) -> Floats:
    if values.shape[-1] == 0:
        return np.full(values.shape[:-1], np.nan)
    return np.asarray(values.mean(-1))


def _std(returns: Floats) -> Floats:
    """Sample standard deviation, [...]; NaN for fewer than two returns, 0 for a path that never moves."""
    num = returns.shape[-1]
    if num < 2:
        return np.full(returns.shape[:-1], np.nan)
    with np.errstate(invalid="ignore"):  # a ruined account's last return is -inf
        deviations = returns - returns.mean(-1, keepdims=True)
        std = np.sqrt(np.einsum("...i,...i->...", deviations, deviations) / (num - 1))
    return np.where(std < TINY_STD, 0.0, std)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Quotient [...], NaN where the denominator is 0 or itself undefined."""
    undefined = np.full(np.shape(numerator), np.nan)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.divide(numerator, denominator, out=undefined, where=np.abs(denominator) > TINY_STD))
