"""The two forecasts of realised volatility that any other must beat.

Shape legend: n = sessions, h = sessions that a forecast covers.
"""

from dataclasses import dataclass

import numpy as np

from flag_kedro.data.realised import HORIZON
from flag_kedro.env.account import Bools, Floats
from flag_kedro.errors import DataError

WEEK, MONTH = 5, 22
"""Sessions over which HAR averages (Corsi 2009, Journal of Financial Econometrics 7(2))."""
DECAY = 0.94
"""Of daily data (RiskMetrics technical document, 1996)."""
MIN_SAMPLES = 30
"""For the four coefficients of HAR."""


def ewma_variance(log_returns: Floats, horizon: int = HORIZON, decay: float = DECAY) -> Floats:
    """Forecast at each session of the variance of the next `horizon`: exponentially weighted squares so far, [n].

    It begins with the first square; a return that is not there changes nothing.

    Args:
        log_returns: [n].
        horizon: h; the forecast of one session times it.
        decay: weight of the past.
    """
    variance, known = np.full(len(log_returns), np.nan), np.nan
    for session, value in enumerate(log_returns):
        if not np.isnan(value):
            known = value**2 if np.isnan(known) else decay * known + (1.0 - decay) * value**2
        variance[session] = known
    return horizon * variance


def har_regressors(log_returns: Floats) -> Floats:
    """Squared return of the session, and its means over a week and a month, [n, 3]; NaN until a month is there."""
    squares = log_returns**2
    padded = np.concatenate([np.full(MONTH - 1, np.nan), squares])
    windows = np.lib.stride_tricks.sliding_window_view(padded, MONTH)
    return np.stack([squares, windows[:, -WEEK:].mean(axis=1), windows.mean(axis=1)], axis=1)


@dataclass(frozen=True)
class HAR:
    """A fitted heterogeneous autoregression of realised variance."""

    coefficients: Floats
    """Intercept, day, week, month, [4]."""
    lowest: float
    highest: float
    """Of the targets it was fitted on, within which forecasts are kept: a regression may predict less than nothing
    (the insanity filter of Swanson and White 1997)."""

    def forecast(self, regressors: Floats) -> Floats:
        """Variance of the next h sessions, [n]; NaN where a regressor is.

        Args:
            regressors: of `har_regressors`, [n, 3].
        """
        raw = self.coefficients[0] + regressors @ self.coefficients[1:]
        kept: Floats = np.where(np.isnan(raw), np.nan, np.clip(raw, self.lowest, self.highest))
        return kept


def fit_har(regressors: Floats, targets: Floats, usable: Bools) -> HAR:
    """Least squares of realised variance on the variance of a day, a week and a month.

    Args:
        regressors: of `har_regressors`, of all symbols one behind the other, [n, 3].
        targets: of `data.realised.realised_variance`, [n].
        usable: sessions to fit on: those of the training window whose target ends within it, [n].

    Raises:
        DataError: when too few of them have all that is needed.
    """
    rows = usable & ~np.isnan(targets) & ~np.isnan(regressors).any(axis=1)
    if rows.sum() < MIN_SAMPLES:
        raise DataError(
            f"HAR needs {MIN_SAMPLES} sessions with a month before and the horizon behind them; "
            f"the training window has {rows.sum()}"
        )
    design = np.column_stack([np.ones(rows.sum()), regressors[rows]])
    coefficients, *_ = np.linalg.lstsq(design, targets[rows], rcond=None)
    return HAR(coefficients, float(targets[rows].min()), float(targets[rows].max()))
