"""Accounts that hold several symbols at once, and what rebalancing to weights does to them.

Shape legend: A = accounts, S = symbols.
"""

from dataclasses import dataclass

import numpy as np

from flag_kedro.env.account import DUST, RUIN_SHARE, Bools, Floats

MAX_STEPS = 100
"""Newton steps; a line with S kinks needs at most S + 1."""


@dataclass
class PortfolioAccounts:
    """Cash and shares; weights are values over equity."""

    cash: Floats
    """[A]."""
    shares: Floats
    """Negative while short, [A, S]."""

    @classmethod
    def open(cls, num_accounts: int, num_symbols: int, initial_cash: float) -> "PortfolioAccounts":
        """New accounts that hold cash only."""
        return cls(np.full(num_accounts, initial_cash), np.zeros((num_accounts, num_symbols)))

    def reset(self, which: Bools, initial_cash: float) -> None:
        """Set the accounts in `which` [A] to `initial_cash` (money) and no shares."""
        self.cash[which] = initial_cash
        self.shares[which] = 0.0

    def equity(self, prices: Floats) -> Floats:
        """Cash plus shares at `prices` [A, S], [A]."""
        equity: Floats = self.cash + (self.shares * prices).sum(axis=1)
        return equity

    def weights(self, prices: Floats) -> Floats:
        """Share of equity in each symbol, negative while short, as prices have moved it, [A, S]; 0 once all is lost."""
        equity = self.equity(prices)[:, None]
        return np.divide(self.shares * prices, equity, out=np.zeros_like(self.shares), where=equity > 0.0)

    def accrue(self, marks: Floats, years: Floats, cash_rate: float, borrow_rate: float) -> None:
        """Pay interest on free cash, that on borrowed cash, and the fee for borrowed shares, for one night.

        Proceeds of short sales are collateral and earn nothing, whatever else is held. Borrowed cash costs both rates.

        Args:
            marks: prices at the close before the night, [A, S].
            years: length of the night in years of 365 days, [A].
            cash_rate: yearly, compounded.
            borrow_rate: yearly, simple, of the shorted value at `marks` and of borrowed cash.
        """
        short = np.minimum(self.shares * marks, 0.0).sum(axis=1)
        free, borrowed = np.maximum(self.cash + short, 0.0), np.minimum(self.cash, 0.0)
        growth = np.expm1(np.log1p(cash_rate) * years)
        self.cash += (free + borrowed) * growth + (short + borrowed) * borrow_rate * years

    def rebalance(self, targets: Floats, prices: Floats, cost: float, which: Bools) -> Floats:
        """Trade so that afterwards each symbol's value is `targets` of the equity that costs have left.

        Costs are of the value traded, from the weights that prices have made of the last ones. What is left solves
        equity = before - cost x sum |target x equity - held|. Where nothing would be left, all is closed.

        Args:
            targets: weights, [A, S]; the rest is cash.
            prices: fill prices, [A, S].
            cost: of a trade, as a share of its value.
            which: accounts that trade, [A].

        Returns:
            Traded value, [A].
        """
        held = self.shares * prices
        before, size = self.equity(prices), np.abs(held).sum(axis=1)
        left = np.where(which, equity_after_costs(before, held, targets, cost), before)
        lost = which & (left <= DUST * size)
        wanted = np.where(which[:, None], targets * left[:, None], held)
        wanted[lost] = 0.0
        left = np.where(lost, np.minimum(before - cost * size, 0.0), left)
        traded: Floats = np.abs(wanted - held).sum(axis=1)
        self.cash = np.where(which, left - wanted.sum(axis=1), self.cash)
        self.shares = np.where(which[:, None], wanted / prices, self.shares)
        return traded

    def close_out(self, which: Bools, equity_before: Floats) -> None:
        """Leave the ruined accounts in `which` [A] with `RUIN_SHARE` of `equity_before` [A] and no shares."""
        self.reset(which, 0.0)
        self.cash[which] = RUIN_SHARE * equity_before[which]


def equity_after_costs(before: Floats, held: Floats, targets: Floats, cost: float) -> Floats:
    """The one root of left + cost x sum |targets x left - held| = before, [A].

    The left side grows with `left` and is convex, so Newton's steps from `before` fall to the root and end there.

    Args:
        before: equity at fill prices before the trade, [A].
        held: values held, [A, S].
        targets: weights, [A, S]; cost x sum |targets| must stay below 1.
        cost: of a trade, as a share of its value.
    """
    left = before.astype(np.float64)
    for _ in range(MAX_STEPS):
        gap = targets * left[:, None] - held
        excess = left + cost * np.abs(gap).sum(axis=1) - before
        slope = 1.0 + cost * (targets * np.where(gap >= 0.0, 1.0, -1.0)).sum(axis=1)
        step = excess / slope
        left = left - step
        if (np.abs(step) <= DUST * np.abs(before)).all():
            break
    return left
