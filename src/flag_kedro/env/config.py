"""Parameters `env.*`: how a decision becomes a trade, a cost and a reward."""

import math
from dataclasses import asdict
from typing import Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from flag_kedro.features.events import EventRule

Fill = Literal["next_open", "next_close", "same_close"]
Positions = Literal["long_flat", "long_short"]
AccountView = Literal["position", "compact", "paper"]
BPS = 10_000.0
ROUNDING = 1e-9
EVENT_FIELDS = ("event_news_burst", "event_news_ratio", "event_large_move", "event_sessions", "event_filing")
"""Parameters that only matter where events are traded on."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class EnvConfig:
    """The trading MDP."""

    fill: Fill = "next_open"
    """Price at which a decision trades: the next session's open or close, or (for comparison with published
    tables only, since nobody can trade at the price that he decides on) the close it was taken at. A source
    without opens trades at the next close, and says so."""
    positions: Positions = "long_flat"
    """`long_flat`: sell goes flat, hold keeps, buy goes all in. `long_short`: sell goes all short, hold keeps,
    buy goes all long."""
    cost_bps: float = Field(default=5.0, ge=0.0, lt=BPS)
    """Commission of one trade in basis points of its value."""
    slippage_bps: float = Field(default=5.0, ge=0.0, lt=BPS)
    """Slippage of one trade in basis points of its value."""
    borrow_bps_year: float = Field(default=50.0, ge=0.0, lt=BPS)
    """Yearly fee for borrowed shares in basis points of their value, paid by shorts for each night."""
    cash_rate: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Yearly interest on free cash as a decimal, compounded by calendar days; Sharpe ratios are in excess of it."""
    max_participation: float | None = Field(default=None, gt=0.0, le=1.0)
    """Largest share of a session's volume that one fill may take; the rest is tried again each session. Null, or a
    session without a volume, sets no limit."""
    reward: Literal["log_return", "sharpe_increment", "differential_sharpe"] = "log_return"
    """Log return of equity, the paper's change of the Sharpe ratio so far, or Moody and Saffell's."""
    differential_sharpe_eta: float = Field(default=0.01, gt=0.0, lt=1.0)
    """Weight of the newest return in the moving moments of `differential_sharpe`."""
    drawdown_penalty: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """Weight of what a session adds to the episode's largest drawdown, in logs, taken off the reward; 0 is off."""
    cvar_penalty: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """Weight of the conditional value at risk of the episode's session returns, taken off the reward; 0 is off."""
    cvar_level: float = Field(default=0.05, gt=0.0, lt=1.0)
    """Share of the sessions, the worst ones, that `cvar_penalty` is about."""
    max_drawdown_stop: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Once equity at a mark lies this share below the episode's running peak, the position is closed at the next fill
    and the account stays flat until the episode ends; null never stops. It holds wherever the account is traded."""
    account_view: AccountView = "compact"
    """How a prompt describes the account: its position alone, one of 31 texts that also say how long it is held and
    what it gained, or the paper's numbers and histories. With `position` accounts share most prompts."""
    initial_cash: float = Field(default=100_000.0, gt=0.0)
    """Cash at the start of an episode; the paper's account view shows it and `max_participation` weighs it."""
    max_episode_steps: int | None = Field(default=None, ge=1)
    """Truncate training episodes after so many steps; null trades the whole window."""
    decide_on: Literal["every_session", "events"] = "every_session"
    """Sessions at whose close a trade may be asked for: all, or those that are an event of any kind below, between
    which only `hold` is legal, for every strategy. News count as a state shows them, so `features.digest_sessions` must
    be 1 for them."""
    event_news_burst: float | None = Field(default=1.0, gt=0.0)
    """Fewest articles that became usable since the decision before; null: their number alone is no event."""
    event_news_ratio: float | None = Field(default=None, gt=0.0)
    """The same as a multiple of the symbol's own mean over the `event_sessions` sessions before; null: no event."""
    event_large_move: float | None = Field(default=None, gt=0.0)
    """Smallest size of the last close-to-close log return, in standard deviations of the `event_sessions` returns
    before it; null: no event."""
    event_sessions: Literal[20, 60] = 20
    """Sessions of that mean and that deviation."""
    event_filing: bool = False
    """Whether an article that names a form of the SEC (10-K, 10-Q, 8-K, 20-F, 6-K) is an event."""

    def __post_init__(self) -> None:
        kinds = (self.event_news_burst, self.event_news_ratio, self.event_large_move)
        if self.decide_on == "events" and not self.event_filing and all(kind is None for kind in kinds):
            raise ValueError(
                "env.decide_on is events, but no kind of event is asked for; set one of env.event_news_burst, "
                "env.event_news_ratio, env.event_large_move or env.event_filing"
            )
        if self.cost_bps + self.slippage_bps >= BPS:
            raise ValueError(
                f"env.cost_bps + env.slippage_bps must stay below 10,000; got {self.cost_bps + self.slippage_bps:g}"
            )
        if self.cvar_penalty and self.max_episode_steps is not None and self.max_episode_steps <= self.cvar_sessions:
            raise ValueError(
                f"env.cvar_penalty counts from an episode's session {self.cvar_sessions + 1} on (1 / env.cvar_level = "
                f"{1.0 / self.cvar_level:g} returns must be known), but env.max_episode_steps is "
                f"{self.max_episode_steps}; raise it or env.cvar_level"
            )

    def facts(self) -> dict[str, Any]:
        """The fields by which trainings and policies are known again, fit for JSON.

        Penalties, the stop and events are among them where they are on: what was made before there were any is still
        known.
        """
        fields = asdict(self)
        if self.decide_on == "every_session":
            for name in ("decide_on", *EVENT_FIELDS):
                del fields[name]
        if not self.drawdown_penalty:
            del fields["drawdown_penalty"]
        if not self.cvar_penalty:
            del fields["cvar_penalty"], fields["cvar_level"]
        if self.max_drawdown_stop is None:
            del fields["max_drawdown_stop"]
        return fields

    @property
    def cvar_sessions(self) -> int:
        """Returns that an episode must have before `cvar_penalty` counts: fewer have no such worst share."""
        return math.ceil(1.0 / self.cvar_level - ROUNDING)

    @property
    def cost(self) -> float:
        """Cost of one trade as a share of its value."""
        return (self.cost_bps + self.slippage_bps) / BPS

    @property
    def event_rule(self) -> EventRule | None:
        """What makes a session an event; None where every session may trade."""
        if self.decide_on == "every_session":
            return None
        return EventRule(
            news_burst=self.event_news_burst,
            news_ratio=self.event_news_ratio,
            large_move=self.event_large_move,
            sessions=self.event_sessions,
            filing=self.event_filing,
        )

    @property
    def borrow_rate(self) -> float:
        """Yearly fee for borrowed shares as a share of their value."""
        return self.borrow_bps_year / BPS


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PortfolioConfig:
    """One account over all symbols (`--pipelines=portfolio`); costs, fills and reward are those of `env.*`."""

    gross: float = Field(default=1.0, gt=0.0, le=4.0)
    """Largest sum of the sizes of all weights; what goes beyond 1 long is borrowed at `env.cash_rate` and
    `env.borrow_bps_year`."""
    threshold: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Nothing is traded where no weight differs by more from what is held."""
