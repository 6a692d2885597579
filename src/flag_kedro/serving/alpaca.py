"""Alpaca's trading API (v2) as a broker: its paper account, unless real money is asked for.

Source: Alpaca's documents of the trading API; proven against a
local server that answers, and fails, as those say. Keys are read from the environment and written nowhere.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from flag_kedro.errors import ParameterError
from flag_kedro.serving.orders import BrokerAccount, BrokerError, Order, OrderState, OrderStatus

logger = logging.getLogger(__name__)

PAPER = "https://paper-api.alpaca.markets"
LOCAL = ("127.0.0.1", "localhost", "::1")
KEY, SECRET = "APCA_API_KEY_ID", "APCA_API_SECRET_KEY"
"""Environment variables with the keys, and by other names the headers that carry them."""
HEADERS = {"APCA-API-KEY-ID": KEY, "APCA-API-SECRET-KEY": SECRET}
BUSY = (408, 429)
"""Status codes beside 5xx after which the same question may be answered later."""
SHOWN = 300
"""Characters of a server's message that are shown."""
STATUSES: dict[str, OrderStatus] = {
    "filled": "filled",
    "canceled": "cancelled",
    "expired": "cancelled",
    "replaced": "cancelled",
    "done_for_day": "cancelled",
    "rejected": "rejected",
    "suspended": "rejected",
}
"""Of Alpaca's words, those that are final; all others are open."""


class NoAnswer(BrokerError):
    """No usable answer this time; another try may help."""


class Refused(BrokerError):
    """The server understood and said no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class AlpacaBroker:
    """Market orders for the next session, by money for purchases and by shares for sales."""

    url: str = PAPER
    """Of the API, without a version."""
    attempts: int = 5
    """Tries for each question."""
    timeout: float = 10.0
    """Seconds to wait for an answer."""
    sleep: Callable[[float], None] = field(default=time.sleep)
    """Waits so many seconds."""

    @property
    def name(self) -> str:
        """What it is, for people."""
        return f"Alpaca's {'live' if self.real_money else 'paper'} account at {urlsplit(self.url).hostname}"

    @property
    def real_money(self) -> bool:
        """Whether losses may be real: at any address but the paper account's and this machine's."""
        return urlsplit(self.url).hostname not in (urlsplit(PAPER).hostname, *LOCAL)

    def account(self) -> BrokerAccount:
        """Equity and positions.

        Raises:
            BrokerError: when the server does not say, or the account must not trade.
        """
        account = self._ask("GET", "/v2/account")
        blocked = [name for name in ("trading_blocked", "account_blocked", "trade_suspended_by_user") if account[name]]
        if blocked:
            raise BrokerError(f"{self.name} must not trade: it says {', '.join(blocked)}")
        positions = {row["symbol"]: float(row["qty"]) for row in self._ask("GET", "/v2/positions")}
        return BrokerAccount(float(account["equity"]), positions)

    def submit(self, order: Order) -> OrderState:
        """Hand an order over, and find out what became of it where no answer comes: it may have arrived.

        Raises:
            BrokerError: when the server cannot be asked.
        """
        amount = {"notional": f"{order.money:.2f}"} if order.side == "buy" else {"qty": f"{order.shares:.9f}"}
        body = {
            "symbol": order.symbol,
            "side": order.side,
            "type": "market",
            "time_in_force": "day",
            "client_order_id": order.id,
            **amount,
        }
        try:
            return _state(self._ask("POST", "/v2/orders", body))
        except Refused as refusal:
            known = self.find([order.id])  # a try before may have arrived, whose answer did not
            if order.id in known:
                return known[order.id]
            return OrderState(id=order.id, symbol=order.symbol, side=order.side, status="rejected", reason=str(refusal))

    def cancel(self, order_id: str) -> OrderState:
        """Take back what is not filled yet; one that is filled meanwhile stays so.

        Raises:
            BrokerError: when the server does not know it, or cannot be asked.
        """
        row = self._find(order_id)
        if row is None:
            raise BrokerError(f"{self.name} has no order {order_id}")
        if _state(row).status == "open":
            try:
                self._ask("DELETE", f"/v2/orders/{row['id']}")
            except Refused as refusal:
                if refusal.status != 422:  # not cancelable any more
                    raise
            row = self._find(order_id) or row
        return _state(row)

    def find(self, order_ids: Sequence[str]) -> dict[str, OrderState]:
        """States of the orders of these ids that the server knows.

        Raises:
            BrokerError: when it cannot be asked.
        """
        rows = {order_id: self._find(order_id) for order_id in order_ids}
        return {order_id: _state(row) for order_id, row in rows.items() if row is not None}

    def _find(self, order_id: str) -> dict[str, Any] | None:
        try:
            row: dict[str, Any] = self._ask("GET", f"/v2/orders:by_client_order_id?client_order_id={quote(order_id)}")
        except Refused as refusal:
            if refusal.status == 404:
                return None
            raise
        return row

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer to a question, tried again where that may help: every one of ours is safe to repeat."""

        def log_retry(state: RetryCallState) -> None:
            logger.warning("%s: %s; asking again", self.name, state.outcome.exception() if state.outcome else None)

        retrying = Retrying(
            retry=retry_if_exception_type(NoAnswer),
            stop=stop_after_attempt(self.attempts),
            wait=wait_exponential(max=30.0),
            sleep=self.sleep,
            before_sleep=log_retry,
            reraise=True,
        )
        try:
            return retrying(self._ask_once, method, path, body)
        except NoAnswer as error:
            raise BrokerError(
                f"{self.name} gave no usable answer in {self.attempts} tries; the last was: {error}. Orders are named "
                "by their decisions, so the same command again sends none twice"
            ) from error

    def _ask_once(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        """One try.

        Raises:
            NoAnswer: when another one may help.
            Refused: when it would not.
        """
        try:
            reply = self._session.request(
                method, self.url + path, json=body, timeout=self.timeout, allow_redirects=False
            )
        except requests.RequestException as error:
            raise NoAnswer(f"{type(error).__name__}") from error
        if reply.status_code in BUSY or reply.status_code >= 500:
            raise NoAnswer(f"status {reply.status_code}: {reply.text[:SHOWN]}")
        if reply.status_code in (401, 403) and "40310000" not in reply.text:
            raise ParameterError(
                f"{self.name} does not take these keys (status {reply.status_code}: {reply.text[:SHOWN]}); set {KEY} "
                f"and {SECRET} to those of a {'live' if self.real_money else 'paper'} account"
            )
        if not 200 <= reply.status_code < 300:
            raise Refused(reply.status_code, f"status {reply.status_code}: {reply.text[:SHOWN]}")
        if reply.status_code == 204:
            return None
        try:
            return reply.json()
        except ValueError as error:
            raise NoAnswer(f"an answer that is no JSON: {reply.text[:SHOWN]!r}") from error

    @cached_property
    def _session(self) -> requests.Session:
        """A connection with the keys.

        Raises:
            ParameterError: when a key is missing, or keys would travel unencrypted.
        """
        address = urlsplit(self.url)
        if address.scheme != "https" and address.hostname not in LOCAL:
            raise ParameterError(f"trade.url is {self.url}; keys are sent to https addresses alone")
        missing = [name for name in HEADERS.values() if not os.environ.get(name)]
        if missing:
            raise ParameterError(
                f"the environment has no {' and no '.join(missing)}; Alpaca shows both where a paper account is made"
            )
        session = requests.Session()
        session.headers.update({header: os.environ[name] for header, name in HEADERS.items()})
        return session


def _state(row: dict[str, Any]) -> OrderState:
    """An order in Alpaca's words as ours.

    Raises:
        BrokerError: when a field is missing.
    """
    try:
        price = row["filled_avg_price"]
        return OrderState(
            id=row["client_order_id"],
            symbol=row["symbol"],
            side=row["side"],
            status=STATUSES.get(row["status"], "open"),
            shares=float(row["filled_qty"]),
            price=None if price is None else float(price),
            reason=row["status"] if STATUSES.get(row["status"]) in ("cancelled", "rejected") else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BrokerError(f"an order of Alpaca's that cannot be read ({error!r}): {str(row)[:SHOWN]}") from error
