"""A broker on paper: orders fill at the market states' own prices and the environment's costs, all at once."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import polars as pl
from filelock import FileLock

from flag_kedro.data.atomic import atomic_write
from flag_kedro.env.config import EnvConfig
from flag_kedro.errors import DataError
from flag_kedro.serving.orders import BrokerAccount, BrokerError, Order, OrderState

ROUNDING = 1e-9
"""By which an order may exceed the cash that is left."""


class SimulatedBroker:
    """Keeps its orders in a file; what they have brought follows from them and the prices that have come since.

    Prices are adjusted, so shares are today's: after a split of 2 for 1 there are twice as many of them.
    """

    name = "a simulated broker"
    real_money = False

    def __init__(self, path: Path, states: Mapping[str, pl.DataFrame], env: EnvConfig, money: float) -> None:
        self._path = path
        self._states = states
        self._env = env
        self._money = money

    def account(self) -> BrokerAccount:
        """Equity at the newest closes, and positions."""
        cash, shares = self._money, dict.fromkeys(self._states, 0.0)
        for state in self._all().values():
            cash += state.cash
            shares[state.symbol] += state.bought
        held = {symbol: number for symbol, number in shares.items() if number}
        value = sum(number * self._states[symbol]["mark_price"][-1] for symbol, number in held.items())
        return BrokerAccount(cash + value, held)

    def submit(self, order: Order) -> OrderState:
        """Take an order, once.

        Raises:
            BrokerError: when there is no such symbol.
        """
        if order.symbol not in self._states:
            raise BrokerError(f"{self.name} has no {order.symbol}; it has {', '.join(self._states)}")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self._path}.lock"):
            orders = self._orders()
            if order.id not in orders:
                self._write({**orders, order.id: (order, False)})
        return self._all()[order.id]

    def cancel(self, order_id: str) -> OrderState:
        """Cancel an order that is not filled.

        Raises:
            BrokerError: when there is none of this id.
        """
        with FileLock(f"{self._path}.lock"):
            orders = self._orders()
            if order_id not in orders:
                raise BrokerError(f"{self.name} has no order {order_id}")
            if self._all()[order_id].status == "open":
                self._write({**orders, order_id: (orders[order_id][0], True)})
        return self._all()[order_id]

    def find(self, order_ids: Sequence[str]) -> dict[str, OrderState]:
        """States of the orders of these ids that were submitted."""
        return {name: state for name, state in self._all().items() if name in order_ids}

    def _all(self) -> dict[str, OrderState]:
        """State of every order, in the order of their sessions."""
        states: dict[str, OrderState] = {}
        cash, shares = self._money, dict.fromkeys(self._states, 0.0)
        for order, cancelled in sorted(self._orders().values(), key=lambda each: each[0].session):
            state = self._state(order, cash, shares.get(order.symbol, 0.0), cancelled=cancelled)
            states[order.id] = state
            cash += state.cash
            shares[order.symbol] = shares.get(order.symbol, 0.0) + state.bought
        return states

    def _state(self, order: Order, cash: float, held: float, *, cancelled: bool) -> OrderState:
        """What becomes of an order of an account with `cash` and `held` shares; a sale sells them all."""
        state = OrderState(id=order.id, symbol=order.symbol, side=order.side, status="open")
        if cancelled:
            return replace(state, status="cancelled", reason="cancelled before its fill")
        price = self._fill_price(order)
        if price is None:
            return state
        rate = self._env.cost
        if order.side == "sell":
            if held <= 0.0:
                return replace(state, status="rejected", reason=f"no shares of {order.symbol} are held")
            return replace(state, status="filled", shares=held, price=price, cost=held * price * rate)
        assert order.money is not None
        if order.money > cash * (1.0 + ROUNDING):
            return replace(state, status="rejected", reason=f"{order.money:.2f} cannot be spent of {cash:.2f}")
        shares = order.money / (price * (1.0 + rate))
        return replace(state, status="filled", shares=shares, price=price, cost=shares * price * rate)

    def _fill_price(self, order: Order) -> float | None:
        """Of the session after the one that was decided at; None while that has not come."""
        if order.symbol not in self._states:
            return None
        later = self._states[order.symbol].filter(pl.col("session") > date.fromisoformat(order.session))
        column = "open_price" if self._env.fill == "next_open" else "mark_price"
        return float(later[column][0]) if later.height else None

    def _orders(self) -> dict[str, tuple[Order, bool]]:
        """Each order and whether it was cancelled, by id.

        Raises:
            DataError: when the file is none of this broker.
        """
        if not self._path.exists():
            return {}
        try:
            rows = json.loads(self._path.read_text())
            orders = [(Order(**row["order"]), bool(row["cancelled"])) for row in rows]
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{self._path} are no orders of {self.name} ({error}); put the whole file back, or move it away to "
                "begin with cash alone"
            ) from error
        return {order.id: (order, cancelled) for order, cancelled in orders}

    def _write(self, orders: Mapping[str, tuple[Order, bool]]) -> None:
        rows = [{"order": asdict(order), "cancelled": cancelled} for order, cancelled in orders.values()]
        with atomic_write(self._path) as temporary:
            temporary.write_text(json.dumps(rows, indent=2) + "\n")
