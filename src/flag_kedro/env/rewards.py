"""Rewards of the trading MDP, and what risk takes off them.

Shape legend: N = accounts, K = losses that are remembered.
"""

from typing import Protocol

import numpy as np

from flag_kedro.env.account import Bools, Floats
from flag_kedro.env.config import ROUNDING, EnvConfig

TINY_STD = 1e-12


class Reward(Protocol):
    """Rewards of one session of N accounts, from their equity before and after it."""

    def step(self, equity_before: Floats, equity_after: Floats) -> Floats:
        """Rewards [N] for equity marked before and after the session, both [N]."""

    def reset(self, which: Bools) -> None:
        """Begin anew for the accounts in `which` [N]."""


def make_reward(config: EnvConfig, num_accounts: int, longest: int) -> Reward:
    """The reward that `env.reward` names, less the penalties that are on.

    Args:
        config: reward and penalties.
        num_accounts: N.
        longest: returns of the longest episode.
    """
    reward = _named_reward(config, num_accounts)
    penalties: list[Reward] = []
    if config.drawdown_penalty:
        penalties.append(DrawdownPenalty(num_accounts, config.drawdown_penalty))
    if config.cvar_penalty:
        penalties.append(CVaRPenalty(num_accounts, config.cvar_penalty, config.cvar_level, longest))
    return SumOfRewards((reward, *penalties)) if penalties else reward


def _named_reward(config: EnvConfig, num_accounts: int) -> Reward:
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


class SumOfRewards:
    """Several rewards of the same step, added up."""

    def __init__(self, parts: tuple[Reward, ...]) -> None:
        self.parts = parts

    def reset(self, which: Bools) -> None:
        """Begin anew in every part for the accounts in `which` [N]."""
        for part in self.parts:
            part.reset(which)

    def step(self, equity_before: Floats, equity_after: Floats) -> Floats:
        """Sum of the parts, [N]."""
        first, *others = (part.step(equity_before, equity_after) for part in self.parts)
        for other in others:
            first = first + other
        return first


class DrawdownPenalty:
    """-weight x (M_t - M_{t-1}), M_t the largest ln(running peak / equity) of the episode so far.

    The penalties of an episode sum to -weight x its maximum drawdown in logs, so that with `log_return` its rewards
    sum to log return less weight x drawdown. The running peak includes the equity at the start. Increases of the
    present drawdown in logs would be nothing but the negative returns, wherever the peak is.
    """

    def __init__(self, num_accounts: int, weight: float) -> None:
        self.weight = weight
        self.drawdown = np.zeros(num_accounts)
        self.largest = np.zeros(num_accounts)

    def reset(self, which: Bools) -> None:
        """Forget the drawdowns of the accounts in `which` [N]."""
        self.drawdown[which] = 0.0
        self.largest[which] = 0.0

    def step(self, equity_before: Floats, equity_after: Floats) -> Floats:
        """Take one return of each account and return the penalty, 0 or less, [N]."""
        self.drawdown = np.maximum(self.drawdown - np.log(equity_after / equity_before), 0.0)
        largest = np.maximum(self.largest, self.drawdown)
        penalty: Floats = self.weight * (self.largest - largest)
        self.largest = largest
        return penalty


class CVaRPenalty:
    """-weight x (z + max(L - z, 0) / level), L the session's loss -ln(equity after / before), z a threshold.

    Rockafellar and Uryasev (2000, theorem 1): the least expectation of z + max(L - z, 0) / level over all z is the
    conditional value at risk of L, and the value at risk attains it. Here z is the value at risk of the episode's
    losses before this one: the smallest that at most a share `level` of them exceeds. So the mean penalty of a long
    episode of identically distributed losses tends to weight x CVaR. Approximate is that z is of the episode so far:
    any other z than the value at risk makes the mean larger, by the square of its error. Until 1 / level losses are
    known the penalty is 0.
    """

    def __init__(self, num_accounts: int, weight: float, level: float, longest: int) -> None:
        self.weight, self.level = weight, level
        self.count = np.zeros(num_accounts, dtype=np.int64)
        self.worst = np.full((num_accounts, int(level * longest + ROUNDING) + 1), -np.inf)
        """Largest losses of the episode, the largest last, [N, K]."""

    def reset(self, which: Bools) -> None:
        """Forget the losses of the accounts in `which` [N]."""
        self.count[which] = 0
        self.worst[which] = -np.inf

    def step(self, equity_before: Floats, equity_after: Floats) -> Floats:
        """Take one loss of each account and return the penalty, [N]."""
        loss = np.log(equity_before / equity_after)
        exceeding = (self.level * self.count + ROUNDING).astype(np.int64)
        threshold = self.worst[np.arange(len(loss)), self.worst.shape[1] - 1 - exceeding]
        known = exceeding >= 1
        threshold = np.where(known, threshold, 0.0)
        risk = threshold + np.maximum(loss - threshold, 0.0) / self.level
        self.count = self.count + 1
        rows = np.flatnonzero(loss > self.worst[:, 0])
        self.worst[rows] = np.sort(np.concatenate([self.worst[rows, 1:], loss[rows, None]], axis=1), axis=1)
        return np.where(known, -self.weight * risk, 0.0)
