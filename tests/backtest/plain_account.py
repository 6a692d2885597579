"""One account in plain loops, from prices and decisions to marks; the rules are those of docs/decisions/env.md.

Nothing here is imported from the project, and nothing is an array.
"""

import math
from collections.abc import Callable, Sequence
from datetime import timedelta

from plain_files import Day, Decision, Mark, Terms

ROUNDING = 1e-12
"""Share of what is at stake, or of the initial cash, that counts as rounding (docs/decisions/env.md, ruin)."""
TOKEN = 1e-4
"""Share of its equity that a ruined account keeps."""
YEAR = timedelta(days=365)


class PlainAccount:
    """Cash, shares, and an order that may take several sessions."""

    def __init__(self, terms: Terms, cash: float) -> None:
        self.terms, self.cash, self.shares = terms, cash, 0.0
        self.asked, self.working = 0, False

    @property
    def position(self) -> int:
        return (self.shares > 0) - (self.shares < 0)

    def worth(self, price: float) -> float:
        return self.cash + self.shares * price

    def order(self, action: str) -> None:
        """Ask for a position: buy for long, sell for flat or short; hold goes on with what was asked for."""
        if action == "hold":
            return
        wanted = 1 if action == "buy" else -1 if self.terms.long_short else 0
        assert wanted != self.asked, f"{action} asks for the position that was asked for already"
        self.asked, self.working = wanted, True

    def pass_night(self, mark: float, years: float) -> None:
        """Compound interest on cash that is no collateral; a simple fee for the value that is short at the mark."""
        short = max(0.0, -self.shares) * mark
        free = max(0.0, self.cash - short)  # what a short sale brought is collateral
        self.cash += free * ((1 + self.terms.cash_rate) ** years - 1) - short * self.terms.borrow_rate * years

    def fill(self, price: float, most: float) -> float:
        """Trade towards what was asked for, `most` shares at most; the value that was traded."""
        if not self.working:
            return 0.0
        missing = self._missing(price)
        self.working = abs(missing) > most
        bought = math.copysign(most, missing) if self.working else missing
        value = abs(bought) * price
        self.cash -= bought * price + value * self.terms.cost
        self.shares += bought
        return value

    def _missing(self, price: float) -> float:
        """Shares to buy (or, below 0, to sell) until the order is done."""
        dear, held = price * (1 + self.terms.cost), abs(self.shares) * price
        if self.position == self.asked == 1:  # the rest of a purchase takes the rest of the cash
            return max(0.0, self.cash) / dear
        if self.position == self.asked == -1 and self.worth(price) > ROUNDING * held:
            return -max(0.0, self.worth(price) - held) / dear  # until the short is worth what is left of the equity
        left = self.worth(price) - held * self.terms.cost  # once all is closed
        if left <= ROUNDING * held:  # a short that has lost everything is closed, and there is nothing to hold
            self.asked = 0
        return self.asked * left / dear - self.shares


def fill_at(days: Sequence[Day], t: int, fill: str) -> tuple[float, float | None]:
    """Price and volume at which the decision of session t - 1 is filled."""
    day = days[t - 1] if fill == "same_close" else days[t]
    price = day.open if fill == "next_open" else day.close
    assert price is not None
    return price, day.volume


Decide = Callable[[int, PlainAccount], str | None]
"""Action at session t; None once nothing is decided any more."""


def replay(days: Sequence[Day], terms: Terms, cash: float, decide: Decide) -> list[Mark]:
    """Marks of an account that starts flat and decides at every session but the last."""
    account, marks, ruined = PlainAccount(terms, cash), [Mark(days[0].session, cash, 0, None, 0.0, 0.0)], False
    for t in range(1, len(days)):
        before = marks[-1].equity
        if ruined:
            marks.append(Mark(days[t].session, before, 0, 0.0, 0.0, 0.0))
            continue
        mark = _step(account, days, t, before, decide(t - 1, account))
        if terms.long_short and mark.equity <= ROUNDING * cash:
            ruined, left = True, TOKEN * before
            mark = Mark(mark.session, left, mark.position, math.log(left / before), mark.traded, mark.exposure)
        marks.append(mark)
    return marks


def _step(account: PlainAccount, days: Sequence[Day], t: int, before: float, action: str | None) -> Mark:
    """Pass the night, fill, and mark at the close of session t."""
    terms, years = account.terms, (days[t].closes_at - days[t - 1].closes_at) / YEAR
    held_before, share_before = account.position, _invested(account, days[t - 1].close, before)
    price, volume = fill_at(days, t, terms.fill)
    unlimited = terms.max_participation is None or volume is None
    account.order(action or "hold")
    if terms.fill != "same_close":
        account.pass_night(days[t - 1].close, years)
    traded = account.fill(price, math.inf if unlimited else terms.max_participation * volume)
    if terms.fill == "same_close":
        account.pass_night(days[t - 1].close, years)
    equity = account.worth(days[t].close)
    held = {"next_close": held_before, "same_close": account.position}.get(
        terms.fill,
        account.position or held_before,  # at the open: what is held from then on, or was sold then
    )
    exposure = float(abs(held))
    if terms.max_participation is not None and held:
        of_before = terms.fill == "next_close" or account.position == 0 or equity <= 0
        exposure = share_before if of_before else _invested(account, days[t].close, equity)
    log_return = math.log(equity / before) if equity > 0 else -math.inf
    return Mark(days[t].session, equity, held, log_return, traded, exposure)


def _invested(account: PlainAccount, mark: float, equity: float) -> float:
    """Value of the shares over the equity."""
    return abs(account.shares) * mark / equity


def decided(decisions: Sequence[Decision]) -> Decide:
    """The actions of the decisions table."""
    return lambda t, account: decisions[t].action if t < len(decisions) else None


def towards(targets: Sequence[int]) -> Decide:
    """Ask for the given positions; flat is out of reach of an account that goes long or short."""

    def decide(t: int, account: PlainAccount) -> str:
        lowest = -1 if account.terms.long_short else 0
        if targets[t] == account.asked or targets[t] not in (1, lowest):
            return "hold"
        return "buy" if targets[t] == 1 else "sell"

    return decide


def asked_positions(decisions: Sequence[Decision], num: int, long_short: bool) -> list[int]:
    """Position that was asked for last at each of `num` sessions; none once nothing is decided any more."""
    asked, positions = 0, []
    for decision in decisions:
        if decision.action != "hold":
            asked = 1 if decision.action == "buy" else -1 if long_short else 0
        positions.append(asked)
    return positions + [0] * (num - len(positions))
