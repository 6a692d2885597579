"""Cash and shares of many accounts at once, and what a fill does to them.

Shape legend: N = accounts.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SELL, HOLD, BUY = 0, 1, 2
ACTION_NAMES = ("sell", "hold", "buy")


@dataclass
class Accounts:
    """Long-or-flat accounts; every field [N]. `is_long` decides what is legal, never a comparison of floats."""

    cash: Floats
    shares: Floats
    is_long: Bools
    entry_price: Floats
    """Price of the fill that opened the position; 0 while flat."""
    sessions_held: Ints
    """Marks since that fill, 0 while flat."""

    @classmethod
    def open(cls, num_accounts: int, initial_cash: float) -> "Accounts":
        """New accounts that hold cash only."""
        return cls(
            cash=np.full(num_accounts, initial_cash),
            shares=np.zeros(num_accounts),
            is_long=np.zeros(num_accounts, dtype=bool),
            entry_price=np.zeros(num_accounts),
            sessions_held=np.zeros(num_accounts, dtype=np.int64),
        )

    def reset(self, which: Bools, initial_cash: float) -> None:
        """Give the accounts in `which` [N] a new start."""
        self.cash[which] = initial_cash
        self.shares[which] = 0.0
        self.is_long[which] = False
        self.entry_price[which] = 0.0
        self.sessions_held[which] = 0

    def action_mask(self) -> Bools:
        """Legal actions [N, 3] in the order sell, hold, buy: no sale when flat, no purchase when long."""
        return np.stack([self.is_long, np.ones_like(self.is_long), ~self.is_long], axis=1)

    def fill(self, actions: Ints, prices: Floats, cost: float) -> Floats:
        """Trade legal `actions` [N] at `prices` [N]; afterwards one more session is held.

        Buying spends all cash: shares = cash / (price x (1 + cost)). Selling brings
        shares x price x (1 - cost). Source: SEMANTICS section 3, paper section 3 with costs.

        Returns:
            Traded value, price x shares, [N].
        """
        buys, sells = actions == BUY, actions == SELL
        bought = np.where(buys, self.cash / (prices * (1.0 + cost)), 0.0)
        sold = np.where(sells, self.shares, 0.0)
        self.cash = np.where(buys, 0.0, self.cash) + sold * prices * (1.0 - cost)
        self.shares = self.shares + bought - sold
        self.is_long = (self.is_long | buys) & ~sells
        self.entry_price = np.where(buys, prices, np.where(self.is_long, self.entry_price, 0.0))
        self.sessions_held = np.where(self.is_long, np.where(buys, 0, self.sessions_held) + 1, 0)
        return (bought + sold) * prices

    def equity(self, marks: Floats) -> Floats:
        """Cash plus shares at `marks` [N]."""
        return self.cash + self.shares * marks

    def unrealised_return(self, marks: Floats) -> Floats:
        """Simple return since the entry fill, 0 while flat, [N]."""
        entry = np.where(self.is_long, self.entry_price, 1.0)
        return np.where(self.is_long, marks / entry - 1.0, 0.0)


def refuse_masked(symbol: str, day: date, action: int, mask: Bools) -> None:
    """Let a legal `action` pass.

    Args:
        symbol: for the message.
        day: session of the decision, for the message.
        action: what was decided.
        mask: legal actions, [3].

    Raises:
        ValueError: when `action` is masked, or none of the three.
    """
    known = 0 <= action < len(ACTION_NAMES)
    if known and mask[action]:
        return
    name, held = ACTION_NAMES[action] if known else "unknown", "long" if mask[SELL] else "flat"
    valid = ", ".join(name for name, legal in zip(ACTION_NAMES, mask, strict=True) if legal)
    raise ValueError(
        f"action {action} ({name}) is masked at {symbol} {day}: the account is {held}; valid actions: {valid}"
    )
