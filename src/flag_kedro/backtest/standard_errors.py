"""Standard errors of means of series with a memory.

Shape legend: n = returns, ... = any leading axes.
"""

import numpy as np

from flag_kedro.env.account import Floats

MIN_DEPENDENT_SESSIONS = 20
"""Fewer returns say nothing of their dependence: neither of a block length nor of an autoregression."""
MAX_COEFFICIENT = 0.97
"""Largest size of an autoregression's coefficient (Andrews and Monahan 1992), short of a series without a mean."""


def hac_error(influence: Floats) -> Floats:
    """Standard error of the mean of `influence` [..., n] under autocorrelation, [...].

    Newey and West (1987) on the residuals of a first-order autoregression, divided by 1 - coefficient (prewhitening,
    Andrews and Monahan 1992), which Ledoit and Wolf (2008) recommend for short series: without it the error of returns
    with a memory is too small. Bartlett weights 1 - k / (L + 1) at a fixed bandwidth L = floor(4 (n / 100)^(2/9)) keep
    it from being negative. A fixed one is right for studentising, where each draw is treated as the sample was.
    Fewer than 20 sessions are not prewhitened.
    """
    num = influence.shape[-1]
    centred = influence - influence.mean(-1, keepdims=True)
    if num < MIN_DEPENDENT_SESSIONS:
        return np.asarray(np.sqrt(_bartlett_sum(centred)) / num)
    coefficient = _autoregression(centred)
    residuals = centred[..., 1:] - coefficient[..., None] * centred[..., :-1]
    return np.asarray(np.sqrt(_bartlett_sum(residuals) / (num * (num - 1))) / (1.0 - coefficient))


def _autoregression(centred: Floats) -> Floats:
    """Least-squares coefficient of `centred` [..., n] on itself a session before, [...]; 0 of a series of zeros."""
    squares = np.einsum("...i,...i->...", centred[..., :-1], centred[..., :-1])
    products = np.einsum("...i,...i->...", centred[..., 1:], centred[..., :-1])
    coefficient = np.divide(products, squares, out=np.zeros_like(squares), where=squares > 0.0)
    return np.asarray(np.clip(coefficient, -MAX_COEFFICIENT, MAX_COEFFICIENT))


def _bartlett_sum(series: Floats) -> Floats:
    """Weighted sum of products of `series` [..., n] with itself up to L sessions before, at least 0, [...]."""
    num = series.shape[-1]
    total = np.einsum("...i,...i->...", series, series)
    num_lags = min(int(4 * (num / 100) ** (2 / 9)), num - 1)
    for lag in range(1, num_lags + 1):
        weight = 2.0 * (1.0 - lag / (num_lags + 1))
        total = total + weight * np.einsum("...i,...i->...", series[..., lag:], series[..., :-lag])
    return np.asarray(np.maximum(total, 0.0))
