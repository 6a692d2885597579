"""Parameters `env.*`: how a decision becomes a trade, a cost and a reward."""

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Fill = Literal["next_open", "next_close"]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class EnvConfig:
    """The trading MDP (SEMANTICS sections 2 to 6)."""

    fill: Fill = "next_open"
    """Price at which a decision trades: the next session's open or close. A source without opens trades
    at the next close, and says so."""
    positions: Literal["long_flat"] = "long_flat"
    """sell goes flat, hold keeps, buy goes all in."""
    cost_bps: float = Field(5.0, ge=0.0, lt=10_000.0)
    """Commission of one trade in basis points of its value."""
    slippage_bps: float = Field(5.0, ge=0.0, lt=10_000.0)
    """Slippage of one trade in basis points of its value."""
    reward: Literal["log_return", "sharpe_increment"] = "log_return"
    """Log return of equity, or the paper's change of the Sharpe ratio so far."""
    account_view: Literal["compact", "paper"] = "compact"
    """How a prompt tells the account: one of at most 31 texts, or the paper's numbers and histories."""
    initial_cash: float = Field(100_000.0, gt=0.0)
    """Cash at the start of an episode; only the paper's account view and reward reports show it."""
    max_episode_steps: int | None = Field(None, ge=1)
    """Truncate training episodes after so many steps; null trades the whole window."""

    def __post_init__(self) -> None:
        if self.cost_bps + self.slippage_bps >= 10_000.0:
            raise ValueError(
                f"env.cost_bps + env.slippage_bps must stay below 10,000; got {self.cost_bps + self.slippage_bps:g}"
            )

    @property
    def cost(self) -> float:
        """Cost of one trade as a share of its value."""
        return (self.cost_bps + self.slippage_bps) / 10_000
