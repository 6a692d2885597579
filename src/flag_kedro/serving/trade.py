"""Orders from the decisions in the ledger, within limits that stop them.

Every order is written down before it is submitted, and named by its decision: whoever is killed in between gives the
same command again, and nothing is lost or sent twice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from flag_kedro.env.config import EnvConfig
from flag_kedro.errors import DataError, FlagError, ParameterError
from flag_kedro.serving.config import TradeConfig
from flag_kedro.serving.ledger import Line, append, read, utc_now
from flag_kedro.serving.orders import ID_LENGTH, Broker, Order, OrderState

FEWEST_SHARES = 1e-6
"""Below which a position is rounding, and counts as none."""


class TradingStopped(FlagError):
    """A limit was reached: open orders were cancelled, and nothing is ordered until somebody looked at it."""


@dataclass(frozen=True, kw_only=True)
class Traded:
    """What a call ordered, and what there is; saved as JSON in this order."""

    broker: str
    real_money: bool
    equity: float
    """Of the money that the policy trades, at the newest closes."""
    positions: dict[str, float]
    """Shares that the policy's own orders have left."""
    orders: list[OrderState]
    """Of this call."""
    refused: dict[str, str]
    """Decisions that no order was made of, and why, by symbol."""
    num_late: int
    """Decisions whose fill was made, or could have been, before they were ordered."""
    num_holds: int
    earlier: list[OrderState]
    """All orders before, as they are now."""


@dataclass(frozen=True)
class Accounts:
    """What the policy's own orders have left: a part of the money for each symbol."""

    cash: dict[str, float]
    shares: dict[str, float]

    @classmethod
    def of(cls, states: Sequence[OrderState], symbols: Sequence[str], money: float) -> "Accounts":
        """After these orders, beginning with equal parts of `money`.

        Raises:
            DataError: when some are of symbols that are not traded any more.
        """
        if gone := sorted({state.symbol for state in states} - set(symbols)):
            raise DataError(
                f"earlier orders were of {', '.join(gone)}, which this policy does not trade; close what is left of "
                "them at the broker, and move 07_model_output/orders.jsonl away to begin anew"
            )
        cash, shares = dict.fromkeys(symbols, money / len(symbols)), dict.fromkeys(symbols, 0.0)
        for state in states:
            cash[state.symbol] += state.cash
            shares[state.symbol] += state.bought
        return cls(cash, {name: number if abs(number) > FEWEST_SHARES else 0.0 for name, number in shares.items()})

    def equity(self, prices: Mapping[str, float]) -> float:
        """Cash and shares at `prices`, in money."""
        return sum(self.cash.values()) + sum(number * prices[name] for name, number in self.shares.items())


def trade(
    lines: Sequence[Line],
    broker: Broker,
    config: TradeConfig,
    env: EnvConfig,
    prices: Mapping[str, float],
    written: Path,
    stop: Path,
    clock: Callable[[], datetime] = utc_now,
) -> Traded:
    """Order what the newest decision of each symbol asks for, if it can still be filled.

    Args:
        lines: the ledger's, of one policy.
        broker: who takes orders.
        config: money and limits.
        env: of the training; its fills are the ones that decisions were made for.
        prices: newest closes by symbol, of all symbols that the policy trades.
        written: where orders are written before they are submitted, a ledger of its own.
        stop: a file that stops everything while it is there.
        clock: read when an order is about to be written.

    Raises:
        TradingStopped: when a limit is reached; open orders are cancelled before.
        ParameterError: when losses would be real and that was not asked for, or the environment cannot be traded.
        BrokerError: when the account must not trade, or the broker does not answer; the same command again goes on.
    """
    _refuse_what_cannot_be_traded(broker, config, env)
    earlier = _states_of(broker, [line["id"] for line in read(written)])
    if stop.exists():
        _stop(broker, earlier, f"{stop} is there; remove it to trade again")
    accounts = Accounts.of(earlier, list(prices), config.money)
    equity = accounts.equity(prices)
    if equity <= config.money * (1.0 - config.max_loss):
        lost = 1.0 - equity / config.money
        _stop(
            broker,
            earlier,
            f"{lost:.1%} of {config.money:,.0f} is lost (trade.max_loss is {config.max_loss:.0%}). Positions are left "
            "as they are; to go on, raise the limit",
        )
    there = broker.account().positions
    waiting, num_late, num_holds, refused = [], 0, 0, {}
    done = {state.id for state in earlier if state.status != "open"}
    for line in _newest(lines):
        order_id = line["id"][:ID_LENGTH]
        if line["action"] == "hold":
            num_holds += 1
        elif order_id in done:
            continue
        elif clock() >= datetime.fromisoformat(line["fills_at"]):
            num_late += 1
        elif reason := _mismatch(line, accounts, there, earlier, order_id):
            refused[line["symbol"]] = reason
        else:
            waiting.append(_order(line, order_id, accounts, equity * config.max_position))
    states = []
    for order in waiting:
        if _write_down(order, line_of(order, lines), broker, written, clock):
            states.append(broker.submit(order))
        else:
            num_late += 1
    after = Accounts.of(_states_of(broker, [line["id"] for line in read(written)]), list(prices), config.money)
    sent = {state.id for state in states}
    return Traded(
        broker=broker.name,
        real_money=broker.real_money,
        equity=after.equity(prices),
        positions={symbol: number for symbol, number in after.shares.items() if number},
        orders=states,
        refused=refused,
        num_late=num_late,
        num_holds=num_holds,
        earlier=[state for state in earlier if state.id not in sent],
    )


def line_of(order: Order, lines: Sequence[Line]) -> Line:
    """The decision that an order comes from."""
    return next(line for line in lines if line["id"].startswith(order.id))


def _refuse_what_cannot_be_traded(broker: Broker, config: TradeConfig, env: EnvConfig) -> None:
    if broker.real_money and not config.real_money:
        raise ParameterError(f"{broker.name} is real money; nothing is ordered there unless trade.real_money is true")
    if env.positions != "long_flat":
        raise ParameterError(f"env.positions is {env.positions}; orders are made for long_flat alone")
    if env.max_drawdown_stop is not None:
        raise ParameterError(
            f"env.max_drawdown_stop is {env.max_drawdown_stop:g}: it closes positions without a decision, and orders "
            "are made of decisions alone. Train without it; trade.max_loss limits what is lost"
        )
    if env.fill == "next_close" and config.broker == "alpaca":
        raise ParameterError("env.fill is next_close; Alpaca's orders are filled at the open that follows")


def _states_of(broker: Broker, ids: Sequence[str]) -> list[OrderState]:
    """Orders that were written and that the broker knows, oldest first."""
    found = broker.find(ids)
    return [found[order_id] for order_id in ids if order_id in found]


def _stop(broker: Broker, states: Sequence[OrderState], reason: str) -> None:
    cancelled = [broker.cancel(state.id) for state in states if state.status == "open"]
    said = f"{len(cancelled)} open order(s) were cancelled" if cancelled else "no order was open"
    raise TradingStopped(f"trading is stopped: {reason}. {said}")


def _newest(lines: Sequence[Line]) -> list[Line]:
    """The last decision of each symbol."""
    return list({line["symbol"]: line for line in lines}.values())


def _mismatch(
    line: Line, accounts: Accounts, there: Mapping[str, float], earlier: Sequence[OrderState], order_id: str
) -> str | None:
    """Why a decision does not fit what there is; None where it does."""
    symbol = line["symbol"]
    if symbol not in accounts.shares:
        return "the policy does not trade it"
    for state in earlier:
        if state.symbol == symbol and state.status == "open" and state.id != order_id:
            return f"its order {state.id} is still open"
    if there.get(symbol, 0.0) < accounts.shares[symbol] * (1.0 - FEWEST_SHARES) - FEWEST_SHARES:
        return f"the broker holds {there.get(symbol, 0.0):g} of the {accounts.shares[symbol]:g} shares that were bought"
    held = int(accounts.shares[symbol] > 0.0)
    if held != line["position"]:
        words = ("flat", "long")
        return (
            f"it was decided from {words[line['position']]}, but the account is {words[held]}; decide with "
            "decide.position=ledger, or give what is held"
        )
    return None


def _order(line: Line, order_id: str, accounts: Accounts, most: float) -> Order:
    symbol, buys = line["symbol"], line["action"] == "buy"
    return Order(
        id=order_id,
        symbol=symbol,
        session=line["session"],
        side=line["action"],
        money=min(accounts.cash[symbol], most) if buys else None,
        shares=None if buys else accounts.shares[symbol],
    )


def _write_down(order: Order, line: Line, broker: Broker, written: Path, clock: Callable[[], datetime]) -> bool:
    """Write an order down before it is handed over; False where it has become too late for it."""
    row = {
        "id": order.id,
        "decision": line["id"],
        **{name: line[name] for name in ("symbol", "session", "fills_at")},
        "side": order.side,
        "money": order.money,
        "shares": order.shares,
        "broker": broker.name,
    }
    return append(written, [row], clock).num_late == 0
