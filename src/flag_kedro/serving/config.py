"""Parameters `decide.*`: which day to decide on, and from which position."""

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
