"""Losses of forecasts, and whether one is smaller than another's by more than luck.

Shape legend: n = forecasts in the order of time.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from flag_kedro.env.account import Floats

MIN_FORECASTS = 20
"""Fewer say nothing of a difference."""


def qlike(actual: Floats, forecast: Floats) -> Floats:
    """Quasi-likelihood loss, x - ln x - 1 of actual over forecast variance, at least 0, [n].

    With squared errors the loss whose ranking the noise of realised variance does not change (Patton 2011, Journal of
    Econometrics 160(1)).

    Args:
        actual: realised variance, above 0, [n].
        forecast: above 0, [n].
    """
    ratio = actual / forecast
    loss: Floats = ratio - np.log(ratio) - 1.0
    return loss


def squared_error(actual: Floats, forecast: Floats) -> Floats:
    """(actual - forecast) squared, [n]."""
    return (actual - forecast) ** 2


@dataclass(frozen=True, kw_only=True)
class LossDifference:
    """Mean loss less another's: below 0 is better. Saved as JSON in this order."""

    value: float
    ci95: tuple[float, float]
    p_value: float
    """Two-sided, of no difference."""


def compare_losses(own: Floats, other: Floats, horizon: int) -> LossDifference | None:
    """Diebold and Mariano's test (1995) with Harvey, Leybourne and Newbold's correction (1997) and Student's t.

    Forecasts of `horizon` sessions overlap, so their losses are correlated up to that lag less one; autocovariances
    beyond are taken as 0. Where those within make the variance negative, Bartlett's weights take their place.

    Args:
        own: losses, [n].
        other: of the other forecast on the same sessions, [n].
        horizon: sessions that a forecast covers.

    Returns:
        None where there are too few, or the losses are equal.
    """
    difference = own - other
    num = len(difference)
    if num < MIN_FORECASTS or np.ptp(difference) == 0.0:
        return None
    variance = _long_run_variance(difference - difference.mean(), horizon - 1)
    correction = (num + 1 - 2 * horizon + horizon * (horizon - 1) / num) / num
    error = np.sqrt(variance / num / correction)
    value = float(difference.mean())
    half = float(stats.t.ppf(0.975, num - 1) * error)
    return LossDifference(
        value=value,
        ci95=(value - half, value + half),
        p_value=float(2.0 * stats.t.sf(abs(value) / error, num - 1)),
    )


def _long_run_variance(centred: Floats, lags: int) -> float:
    """Of a series around 0 that is correlated up to `lags`."""
    num = len(centred)
    covariances = np.array([float(centred[lag:] @ centred[: num - lag]) / num for lag in range(lags + 1)])
    plain = covariances[0] + 2.0 * covariances[1:].sum()
    weights = 1.0 - np.arange(1, lags + 1) / (lags + 1)
    return float(plain if plain > 0.0 else covariances[0] + 2.0 * weights @ covariances[1:])
