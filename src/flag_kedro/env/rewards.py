"""Rewards of the trading MDP.

Shape legend: N = accounts.
"""

import numpy as np

from flag_kedro.env.account import Bools, Floats

TINY_STD = 1e-12


def log_return(equity_before: Floats, equity_after: Floats) -> Floats:
    """ln(equity after / equity before), [N]; the rewards of an episode sum to its log return."""
    return np.log(equity_after / equity_before)


class SharpeIncrement:
    """The paper's reward: SR_t - SR_{t-1}, SR over the PnLs of the episode so far (arXiv:2502.11433, section 3).

    SR is the mean over the sample standard deviation (ddof 1) of PnLs, not annualised, risk-free rate 0.
    It counts as 0 until there are two PnLs and while the deviation is below 1e-12 of the initial cash.
    PnLs are given as shares of the initial cash, which leaves SR as it is. Moments by Welford (1962).
    """

    def __init__(self, num_accounts: int) -> None:
        self.count = np.zeros(num_accounts)
        self.mean = np.zeros(num_accounts)
        self.squares = np.zeros(num_accounts)
        self.ratio = np.zeros(num_accounts)

    def reset(self, which: Bools) -> None:
        """Forget the PnLs of the accounts in `which` [N]."""
        for moments in (self.count, self.mean, self.squares, self.ratio):
            moments[which] = 0.0

    def step(self, pnl: Floats) -> Floats:
        """Take one PnL of each account [N] and return the change of its Sharpe ratio [N]."""
        self.count += 1
        delta = pnl - self.mean
        self.mean += delta / self.count
        self.squares += delta * (pnl - self.mean)
        std = np.sqrt(self.squares / np.maximum(self.count - 1, 1))
        defined = (self.count >= 2) & (std >= TINY_STD)
        ratio = np.where(defined, self.mean / np.where(defined, std, 1.0), 0.0)
        change = ratio - self.ratio
        self.ratio = ratio
        return change
