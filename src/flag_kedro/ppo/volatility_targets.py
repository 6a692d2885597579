"""What the volatility head learns: how much prices move in the five sessions after a decision.

Shape legend: S = symbols, T = sessions of the longest symbol, N = states.
"""

from dataclasses import dataclass

import numpy as np

from flag_kedro.data.realised import HORIZON, realised_variance
from flag_kedro.env.account import Floats
from flag_kedro.env.portfolio import PortfolioVectorEnv
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import DataError

MIN_TARGETS = 2


@dataclass(frozen=True)
class VolatilityTargets:
    """Standardised logarithms of realised variance, of a training window alone."""

    values: Floats
    """[S, T]; NaN for the last five sessions of each symbol, and where no price moved in the next five."""
    mean: float
    """Of the logarithms."""
    deviation: float
    """Of them."""

    def of_states(self, env: TradingVectorEnv | PortfolioVectorEnv) -> Floats:
        """Targets of the states that are due in an environment of the window, [N]."""
        if isinstance(env, PortfolioVectorEnv):
            side_by_side: Floats = self.values[:, env.session].T.ravel()
            return side_by_side
        return self.values[env.symbol, env.session]


def volatility_targets(window: TradingWindow) -> VolatilityTargets:
    """Targets of each session whose next five lie in the window.

    Raises:
        DataError: when there are too few to tell how they vary.
    """
    returns = np.diff(np.log(window.mark_prices), axis=1, prepend=np.nan)
    variances = np.stack([realised_variance(row) for row in returns])
    logs = np.log(np.where(variances > 0.0, variances, np.nan))
    known = logs[~np.isnan(logs)]
    if len(known) < MIN_TARGETS or np.ptp(known) == 0.0:
        raise DataError(
            f"ppo.volatility_coef learns from the {HORIZON} sessions after each, but the training window has "
            f"{len(known)} such weeks in which a price moves, and they do not differ; lengthen data.windows.train, or "
            "set ppo.volatility_coef to 0"
        )
    mean, deviation = float(known.mean()), float(known.std())
    return VolatilityTargets((logs - mean) / deviation, mean, deviation)
