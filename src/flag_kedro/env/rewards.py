"""Rewards of the trading MDP.

Shape legend: N = accounts.
"""

from typing import Protocol

import numpy as np

from flag_kedro.env.account import Bools, Floats
from flag_kedro.env.config import EnvConfig

TINY_STD = 1e-12


class Reward(Protocol):
    """Rewards of one session of N accounts, from their equity before and after it."""

    def step(self, equity_before: Floats, equity_after: Floats) -> Floats:
        """Rewards [N] for equity marked before and after the session, both [N]."""

    def reset(self, which: Bools) -> None:
        """Begin anew for the accounts in `which` [N]."""


def make_reward(config: EnvConfig, num_accounts: int) -> Reward:
    """The reward that `env.reward` names."""
    match config.reward:
        case "log_return":
            return LogReturn()
        case "sharpe_increment":
            return SharpeIncrement(num_accounts, config.initial_cash)
        case "differential_sharpe":
            return DifferentialSharpe(num_accounts, config.differential_sharpe_eta)


class LogReturn:
    """ln(equity after / equity before); the rewards of an episode sum to its log return."""

    def step(self, equity_before: Floats, equity_after: Floats) -> Floats:
        """Rewards [N] for equity marked before and after the session, both [N]."""
        return np.log(equity_after / equity_before)

    def reset(self, which: Bools) -> None:
        """Nothing is remembered."""


class SharpeIncrement:
    """The paper's reward: SR_t - SR_{t-1}, SR over the PnLs of the episode so far (arXiv:2502.11433, section 3).

    SR is the mean over the sample standard deviation (ddof 1) of PnLs, not annualised, risk-free rate 0.
    It counts as 0 until there are two PnLs and while the deviation is below 1e-12 of the initial cash.
    PnLs are taken as shares of the initial cash, which leaves SR as it is. Moments by Welford (1962).
    """

    def __init__(self, num_accounts: int, initial_cash: float) -> None:
        self.initial_cash = initial_cash
        self.count = np.zeros(num_accounts)
        self.mean = np.zeros(num_accounts)
        self.squares = np.zeros(num_accounts)
        self.ratio = np.zeros(num_accounts)

    def reset(self, which: Bools) -> None:
        """Forget the PnLs of the accounts in `which` [N]."""
        for moments in (self.count, self.mean, self.squares, self.ratio):
            moments[which] = 0.0

    def step(self, equity_before: Floats, equity_after: Floats) -> Floats:
        """Take one PnL of each account and return the change of its Sharpe ratio, [N]."""
        pnl = (equity_after - equity_before) * (1.0 / self.initial_cash)
        self.count += 1.0
        delta = pnl - self.mean
        self.mean += delta / self.count
        self.squares += delta * (pnl - self.mean)
        std = np.sqrt(self.squares / np.maximum(self.count - 1.0, 1.0))
        ratio = np.zeros_like(pnl)
        np.divide(self.mean, std, out=ratio, where=(std >= TINY_STD) & (self.count >= 2.0))
        change = ratio - self.ratio
        self.ratio = ratio
        return change


class DifferentialSharpe:
    """Moody and Saffell (1998): the derivative of an exponentially weighted Sharpe ratio by its decay rate.

    With R_t the simple return of equity, A and B its exponential moving first and second moments:
    D_t = (B_{t-1} (R_t - A_{t-1}) - A_{t-1} (R_t^2 - B_{t-1}) / 2) / (B_{t-1} - A_{t-1}^2)^{3/2},
    then A and B move by eta towards R_t and R_t^2. A and B start at 0; D is 0 while the moving deviation is
    below 1e-12, so the first reward is always 0.
    """

    def __init__(self, num_accounts: int, eta: float) -> None:
        self.eta = eta
        self.first = np.zeros(num_accounts)
        self.second = np.zeros(num_accounts)

    def reset(self, which: Bools) -> None:
        """Forget the returns of the accounts in `which` [N]."""
        self.first[which] = 0.0
        self.second[which] = 0.0

    def step(self, equity_before: Floats, equity_after: Floats) -> Floats:
        """Take one return of each account and return D, [N]."""
        returns = equity_after / equity_before - 1.0
        change_first, change_second = returns - self.first, returns * returns - self.second
        variance = self.second - self.first * self.first
        reward = np.zeros_like(returns)
        defined = variance > TINY_STD**2
        numerator = self.second * change_first - 0.5 * self.first * change_second
        np.divide(numerator, np.maximum(variance, TINY_STD**2) ** 1.5, out=reward, where=defined)
        self.first += self.eta * change_first
        self.second += self.eta * change_second
        return reward
