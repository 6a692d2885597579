"""Which window a simulated session will belong to, so that wordings can differ between windows."""

import numpy as np
from numpy.typing import NDArray

from flag_kedro.data.config import window_ends

WARM_UP_SESSIONS = 59
"""Sessions simulated before `first_session`, so that it is the first with all indicators."""
NUM_WINDOWS = 3


def window_of_sessions(num_sessions: int) -> NDArray[np.int64]:
    """0 for the warm-up and the training window, 1 for validation, 2 for test, [num_sessions].

    Windows that are given otherwise (`data.windows`) are not followed.
    """
    ends = window_ends(num_sessions - WARM_UP_SESSIONS)
    return np.searchsorted(ends, np.arange(num_sessions) - WARM_UP_SESSIONS, side="right")
