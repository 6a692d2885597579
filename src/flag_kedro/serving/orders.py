"""Orders, and the few calls that a broker must answer.

An order is named by the decision that it comes from, and a broker takes each name once: who does not know whether an
order arrived submits it again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from flag_kedro.errors import FlagError

Side = Literal["buy", "sell"]
OrderStatus = Literal["open", "filled", "cancelled", "rejected"]
ID_LENGTH = 40
"""Characters of a decision's id that name its order; brokers take at most 48."""


class BrokerError(FlagError):
    """A broker that cannot be asked, or refuses what every order needs."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """A market order for the next fill; saved as JSON in this order."""

    id: str
    """Of the decision; a broker takes it once."""
    symbol: str
    session: str
    """At whose close it was decided."""
    side: Side
    money: float | None = None
    """To be spent, costs included; of a purchase."""
    shares: float | None = None
    """To be sold; of a sale."""


@dataclass(frozen=True, kw_only=True)
class OrderState:
    """What has become of an order; saved as JSON in this order."""

    id: str
    symbol: str
    side: Side
    status: OrderStatus
    shares: float = 0.0
    """Filled so far."""
    price: float | None = None
    """Mean of the fills; None without one."""
    cost: float = 0.0
    """Money paid beside the price."""
    reason: str | None = None
    """Why it was rejected or cancelled, in the broker's words."""

    @property
    def bought(self) -> float:
        """Shares that it brought, negative for a sale."""
        return self.shares if self.side == "buy" else -self.shares

    @property
    def cash(self) -> float:
        """Money that it brought, negative for a purchase."""
        value = self.shares * (self.price or 0.0)
        return (value if self.side == "sell" else -value) - self.cost


@dataclass(frozen=True)
class BrokerAccount:
    """What a broker says that there is."""

    equity: float
    """Cash and positions at their last prices, in money."""
    positions: dict[str, float] = field(default_factory=dict)
    """Shares by symbol."""


class Broker(Protocol):
    """All that trading asks of a broker."""

    @property
    def name(self) -> str:
        """What it is, for people."""

    @property
    def real_money(self) -> bool:
        """Whether losses are real."""

    def account(self) -> BrokerAccount:
        """Equity and positions.

        Raises:
            BrokerError: when it does not say.
        """

    def submit(self, order: Order) -> OrderState:
        """Hand an order over; one whose id the broker knows is not taken again, its state is told.

        Raises:
            BrokerError: when nobody can tell whether it arrived.
        """

    def cancel(self, order_id: str) -> OrderState:
        """Take back what is not filled yet of an order.

        Raises:
            BrokerError: when the broker does not know it.
        """

    def find(self, order_ids: Sequence[str]) -> dict[str, OrderState]:
        """The states of those orders that the broker knows, by id.

        Raises:
            BrokerError: when it does not say.
        """
