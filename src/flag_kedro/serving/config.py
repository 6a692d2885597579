"""Parameters `decide.*` and `trade.*`: which day to decide on and from which position; who trades it, within limits."""

from datetime import date
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Entry:
    """A position that is held."""

    session: date
    """At whose fill it was opened."""
    price: float = Field(gt=0.0, allow_inf_nan=False)
    """Paid for a share on that day, in today's shares: what was paid before a split of 2 for 1 is half of it."""
    side: Literal["long", "short"] = "long"
    """Whether shares are held or owed."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class DecideConfig:
    """A decision outside a backtest."""

    as_of: date | None = None
    """Session at whose close it is taken; null is the newest, which must be the last that closed."""
    position: Literal["flat", "ledger"] | dict[str, Entry] | None = None
    """`flat`; the entry of each symbol that is held, the others being flat; or `ledger`: what the policy's decisions in
    the ledger have led to. Null replays a session of the test window from the window's start, as the backtest does; any
    other is flat."""
    max_age_sessions: int = Field(default=0, ge=0)
    """Sessions that may have closed since the newest state before it is refused as stale."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TradeConfig:
    """Orders from decisions, on paper unless real money is asked for."""

    broker: Literal["simulated", "alpaca"] = "simulated"
    """`simulated` fills at the market states' prices; `alpaca` is Alpaca's paper account, whose keys are in the
    environment (APCA_API_KEY_ID, APCA_API_SECRET_KEY)."""
    url: str | None = None
    """Of a broker's API, null for its paper account."""
    real_money: bool = False
    """Whether an address where losses are real may be used."""
    money: float = Field(default=100_000.0, gt=0.0, allow_inf_nan=False)
    """That the policy trades, in equal parts for its symbols; whatever else an account holds is left alone."""
    max_position: float = Field(default=1.0, gt=0.0, le=1.0)
    """Largest purchase of one symbol, as a share of what the money has become."""
    max_loss: float = Field(default=0.2, gt=0.0, le=1.0)
    """Share of the money lost, at the newest closes, from which on nothing is ordered any more."""
