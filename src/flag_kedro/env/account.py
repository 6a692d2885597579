"""Cash and shares of many accounts at once, and what a fill does to them.

Shape legend: N = accounts.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from flag_kedro.env.config import Positions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SELL, HOLD, BUY = 0, 1, 2
ACTION_NAMES = ("sell", "hold", "buy")
POSITION_NAMES = ("short", "flat", "long")
NUM_ACTIONS, NUM_POSITIONS = 3, 3
DUST = 1e-12
"""Share of what is at stake that counts as rounding: equity that is left of it is none."""
RUIN_SHARE = 1e-4
"""Share of its equity at the mark before that a ruined account is left with: its logs stay finite, and ruin is
never a gain."""

LOWEST: dict[Positions, int] = {"long_flat": 0, "long_short": -1}
"""Position that `sell` leads to."""
_CODES = np.array([-1, 0, 1])
_LEGAL = {
    lowest: np.stack([lowest < _CODES, np.full(NUM_POSITIONS, True), _CODES < 1], axis=1) for lowest in LOWEST.values()
}
"""Legal actions [position + 1, action]: no sale at the lowest position, no purchase at the highest."""
_TARGETS = {
    lowest: np.stack([np.full(NUM_POSITIONS, lowest), _CODES, np.full(NUM_POSITIONS, 1)], axis=1).astype(np.int8)
    for lowest in LOWEST.values()
}
"""Position that each action asks for, [position + 1, action]."""


@dataclass
class Accounts:
    """Accounts that are short (-1), flat (0) or long (1); every field [N].

    `position` decides what is legal, never a comparison of floats.
    """

    lowest: int
    """Lowest position allowed: 0 for long_flat, -1 for long_short."""
    cash: Floats
    shares: Floats
    """Negative while short."""
    position: NDArray[np.int8]
    entry_price: Floats
    """Price of the fill that opened the position; of no meaning while flat."""
    sessions_held: Ints
    """Marks since that fill, 0 while flat."""
    order: NDArray[np.int8] | None = None
    """Position that was asked for last, where fills are limited and an order can take several sessions; None where
    every order is filled at once, so that it is the position held."""
    working: Bools | None = None
    """Whether a part of that order is still to be filled; None as `order`."""
    stopped: Bools | None = None
    """Whether the account is to be closed and to stay flat, where `env.max_drawdown_stop` may ask for it; else None."""

    @classmethod
    def open(
        cls,
        num_accounts: int,
        initial_cash: float,
        positions: Positions = "long_flat",
        *,
        limited: bool = False,
        stoppable: bool = False,
    ) -> "Accounts":
        """New accounts that hold cash only; `limited` where fills will be given `max_shares`, `stoppable` as named."""
        return cls(
            stopped=np.zeros(num_accounts, dtype=bool) if stoppable else None,
            order=np.zeros(num_accounts, dtype=np.int8) if limited else None,
            working=np.zeros(num_accounts, dtype=bool) if limited else None,
            lowest=LOWEST[positions],
            cash=np.full(num_accounts, initial_cash),
            shares=np.zeros(num_accounts),
            position=np.zeros(num_accounts, dtype=np.int8),
            entry_price=np.ones(num_accounts),
            sessions_held=np.zeros(num_accounts, dtype=np.int64),
        )

    def reset(self, which: Bools, initial_cash: float) -> None:
        """Set the accounts in `which` [N] to `initial_cash` (money) and no position."""
        self.cash[which] = initial_cash
        self.shares[which] = 0.0
        self.position[which] = 0
        self.entry_price[which] = 1.0
        self.sessions_held[which] = 0
        if self.order is not None and self.working is not None:
            self.order[which] = 0
            self.working[which] = False
        if self.stopped is not None:
            self.stopped[which] = False

    @property
    def asked(self) -> NDArray[np.int8]:
        """Position that was asked for last, [N]: the one that is held, or that an order is on its way to."""
        return self.position if self.order is None else self.order

    def action_mask(self) -> Bools:
        """Legal actions [N, 3] in the order sell, hold, buy; hold always is, and goes on with an order.

        Of a stopped account nothing else is.
        """
        mask = np.ones((len(self.position), NUM_ACTIONS), dtype=bool)
        np.greater(self.asked, self.lowest, out=mask[:, SELL])
        np.less(self.asked, 1, out=mask[:, BUY])
        if self.stopped is not None:
            mask[self.stopped, SELL] = mask[self.stopped, BUY] = False
        return mask

    def is_legal(self, actions: Ints) -> Bools:
        """Whether each of `actions` [N], all within 0 to 2, is legal, [N]."""
        legal: Bools = _LEGAL[self.lowest].ravel().take(self._pair(actions))
        return legal if self.stopped is None else legal & (~self.stopped | (actions == HOLD))

    def accrue(self, marks: Floats, years: Floats, cash_rate: float, borrow_rate: float) -> None:
        """Pay interest on free cash and the fee for borrowed shares, for one night.

        Free cash is at most the equity: the proceeds of a short sale are collateral and earn nothing.

        Args:
            marks: prices at the close before the night, [N].
            years: length of the night, close to close, in years of 365 days, [N].
            cash_rate: yearly, compounded: cash grows by (1 + cash_rate) ** years.
            borrow_rate: yearly, simple, of the shorted value at `marks`.
        """
        held = self.shares * marks
        free = np.clip(np.minimum(self.cash, self.cash + held), 0.0, None)
        self.cash += free * np.expm1(np.log1p(cash_rate) * years) + np.minimum(held, 0.0) * borrow_rate * years

    def fill(self, actions: Ints, prices: Floats, cost: float, max_shares: Floats | None = None) -> Floats:
        """Trade legal `actions` [N] at `prices` [N]; afterwards one more session is held.

        A trade first closes what is held, then spends all equity on the new side: |shares| = equity /
        (price x (1 + cost)), so that the position is worth the equity that is left. From flat to long this is
        cash / (price x (1 + cost)); a sale brings shares x price x (1 - cost); a reversal pays both sides.
        Source: section 3 of arXiv:2502.11433, with costs. A stopped account closes what it holds, and forgets its
        order.

        Args:
            actions: 0 sell, 1 hold, 2 buy.
            prices: fill prices.
            cost: of a trade, as a share of its value.
            max_shares: most shares that each account may trade in this session, [N], for accounts that were opened as
                `limited`. What is left of an order is tried again each session, whatever holds meanwhile, until it is
                done or the opposite is asked for.

        Returns:
            Traded value, price x shares, [N].
        """
        trades, target = actions != HOLD, _TARGETS[self.lowest].ravel().take(self._pair(actions))
        if self.stopped is not None:
            trades, target = self._close_stopped(trades, target)
        if max_shares is not None:
            return self._fill_in_parts(trades, target, prices, cost, max_shares)
        held = self.shares * prices
        equity = self.cash + held - np.abs(held) * cost  # once all is closed
        if self.lowest < 0:  # a short that is closed with a loss of everything leaves nothing to hold
            lost = trades & (equity <= DUST * np.abs(held))
            equity = np.where(lost, np.minimum(equity, 0.0), equity)
            target[lost] = 0
        wanted = target * np.maximum(equity, 0.0) / (prices * (1.0 + cost))
        bought = (wanted - self.shares) * trades
        traded: Floats = np.abs(bought) * prices
        cash = self.cash - (bought * prices + traded * cost)
        self.cash = np.where((actions == BUY) & (equity > 0.0), 0.0, cash)
        self.shares = np.where(trades, wanted, self.shares)
        self._hold(target, prices)
        return traded

    def _fill_in_parts(
        self, asks: Bools, target: NDArray[np.int8], prices: Floats, cost: float, max_shares: Floats
    ) -> Floats:
        """As `fill`, of at most `max_shares` [N]; an order that lacks shares of its own side closes nothing first."""
        assert self.working is not None
        trades = asks | self.working
        held = self.shares * prices
        adds = self.position == target
        equity = self.cash + held + np.where(adds, cost, -cost) * np.abs(held)
        lost = trades & (equity <= DUST * np.abs(held))
        equity = np.where(lost, np.minimum(equity, 0.0), equity)
        target = np.where(lost, 0, target).astype(np.int8)
        wanted = target * np.maximum(equity, 0.0) / (prices * (1.0 + cost))
        missing = (wanted - self.shares) * trades
        missing = np.where(adds & (missing * target < 0.0), 0.0, missing)  # the price has run ahead: that is all of it
        bought = np.clip(missing, -max_shares, max_shares)
        self.working = trades & (np.abs(missing) > max_shares)
        traded: Floats = np.abs(bought) * prices
        cash = self.cash - (bought * prices + traded * cost)
        spent = trades & ~self.working & (target > 0) & (equity > 0.0)
        self.cash = np.where(spent, 0.0, np.where(target > 0, np.maximum(cash, 0.0), cash))  # below 0 is rounding
        done = np.where(self.working, self.shares + bought, np.where(adds & (missing == 0.0), self.shares, wanted))
        self.shares = np.where(trades, done, self.shares)
        self.order = target
        self._hold(np.where(trades, np.sign(self.shares), self.position).astype(np.int8), prices)
        return traded

    def _close_stopped(self, trades: Bools, target: NDArray[np.int8]) -> tuple[Bools, NDArray[np.int8]]:
        """Which accounts trade [N] and to which positions [N], once stopped ones are told to be flat."""
        assert self.stopped is not None
        if self.working is not None:
            self.working = self.working & ~self.stopped
        held = self.position != 0
        return np.where(self.stopped, held, trades), np.where(self.stopped, 0, target).astype(np.int8)

    def _hold(self, position: NDArray[np.int8], prices: Floats) -> None:
        """Be in `position` [N] from this fill on; one more session is held."""
        moved = position != self.position
        self.position = position
        self.entry_price = np.where(moved, prices, self.entry_price)
        self.sessions_held *= ~moved
        self.sessions_held += 1
        self.sessions_held *= self.position != 0

    def equity(self, marks: Floats) -> Floats:
        """Cash plus shares at `marks` [N]."""
        return self.cash + self.shares * marks

    def close_out(self, which: Bools, equity_before: Floats) -> None:
        """Leave the ruined accounts in `which` [N] with `RUIN_SHARE` of `equity_before` [N] and no shares."""
        self.reset(which, 0.0)
        self.cash[which] = RUIN_SHARE * equity_before[which]

    def unrealised_return(self, marks: Floats) -> Floats:
        """Simple return since the entry fill, seen from the side held; 0 while flat, [N]."""
        return (marks / self.entry_price - 1.0) * self.position

    def _pair(self, actions: Ints) -> Ints:
        """Row of the flattened tables for each account's position asked for and action, [N]."""
        return (self.asked + 1) * NUM_ACTIONS + actions


def only_hold(mask: Bools) -> bool:
    """Whether nothing but hold is legal in `mask` [3]: the account is stopped, or the session is no event."""
    return not (mask[SELL] or mask[BUY])


def refuse_masked(symbol: str, day: date, action: int, mask: Bools, position: int) -> None:
    """Refuse an `action` that is masked or none of the three.

    Args:
        symbol: for the message.
        day: session of the decision, for the message.
        action: what was decided.
        mask: legal actions, [3].
        position: of the account, for the message.

    Raises:
        ValueError: when `action` is masked, or none of the three.
    """
    exists = 0 <= action < NUM_ACTIONS
    if exists and mask[action]:
        return
    name, held = ACTION_NAMES[action] if exists else "unknown", POSITION_NAMES[position + 1]
    valid = ", ".join(name for name, legal in zip(ACTION_NAMES, mask, strict=True) if legal)
    raise ValueError(
        f"action {action} ({name}) is masked at {symbol} {day}: the account is {held}; valid actions: {valid}"
    )
