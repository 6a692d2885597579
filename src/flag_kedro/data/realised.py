"""Realised volatility from daily closes.

Shape legend: n = sessions, h = sessions that are summed.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
HORIZON = 5
"""Sessions of a week."""


def realised_variance(log_returns: Floats, horizon: int = HORIZON) -> Floats:
    """Sum of the squared returns of the `horizon` sessions after each, [n]; NaN for the last ones.

    Args:
        log_returns: of a session's close over the one before, [n]; NaN where there is none.
        horizon: h.
    """
    squares = np.append(log_returns[1:] ** 2, np.full(horizon, np.nan))
    windows = np.lib.stride_tricks.sliding_window_view(squares, horizon)[: len(log_returns)]
    summed: Floats = windows.sum(axis=1)
    return summed
