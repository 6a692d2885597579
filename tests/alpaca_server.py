"""Alpaca's trading API on this machine, as far as orders need it, and what goes wrong with the real one."""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEYS = {"APCA-API-KEY-ID": "PK-1", "APCA-API-SECRET-KEY": "SK-1"}
NOT_UNIQUE = {"code": 40010001, "message": "client_order_id must be unique"}
POOR = {"code": 40310000, "message": "insufficient buying power"}


@dataclass
class AlpacaServer:
    """An account, and faults that happen once each, in order, to the calls of a method."""

    prices: dict[str, float]
    cash: float = 100_000.0
    fill_share: float = 1.0
    """Part of each order that fills at once; the rest stays open."""
    blocked: bool = False
    faults: dict[str, list[str]] = field(default_factory=dict)
    """By method: `accepts and times out`, `times out`, `503`, `429`, `no json`, `drops`."""
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By client id."""
    positions: dict[str, float] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    def answer(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        parts = urlsplit(path)
        if method == "POST" and parts.path == "/v2/orders" and body is not None:
            return self._take(body)
        if method == "GET" and parts.path == "/v2/orders:by_client_order_id":
            order = self.orders.get(parse_qs(parts.query)["client_order_id"][0])
            return (404, {"code": 40410000, "message": "order not found"}) if order is None else (200, order)
        if method == "DELETE":
            return self._cancel(parts.path.rpartition("/")[2])
        if parts.path == "/v2/account":
            equity = self.cash + sum(number * self.prices[name] for name, number in self.positions.items())
            flags = ("trading_blocked", "account_blocked", "trade_suspended_by_user")
            return 200, {"equity": str(equity), "cash": str(self.cash), **dict.fromkeys(flags, self.blocked)}
        if parts.path == "/v2/positions":
            return 200, [{"symbol": name, "qty": str(number)} for name, number in self.positions.items()]
        return 404, {"message": "endpoint not found"}

    def _take(self, body: dict[str, Any]) -> tuple[int, Any]:
        if body["client_order_id"] in self.orders:
            return 422, NOT_UNIQUE
        if len(body["client_order_id"]) > 48 or body["time_in_force"] != "day" or body["type"] != "market":
            return 422, {"code": 40010001, "message": "invalid order"}
        price = self.prices.get(body["symbol"])
        if price is None:
            return 422, {"code": 42210000, "message": f"asset {body['symbol']} not found"}
        if body["side"] == "buy" and float(body["notional"]) > self.cash:
            return 403, POOR
        wanted = float(body["notional"]) / price if body["side"] == "buy" else float(body["qty"])
        if body["side"] == "sell" and wanted > self.positions.get(body["symbol"], 0.0) + 1e-6:
            return 403, {"code": 40310000, "message": "insufficient qty available for order"}
        filled = wanted * self.fill_share
        sign = 1.0 if body["side"] == "buy" else -1.0
        self.positions[body["symbol"]] = self.positions.get(body["symbol"], 0.0) + sign * filled
        self.cash -= sign * filled * price
        order = {
            "id": str(uuid.uuid4()),
            "client_order_id": body["client_order_id"],
            "symbol": body["symbol"],
            "side": body["side"],
            "status": {0.0: "accepted", 1.0: "filled"}.get(self.fill_share, "partially_filled"),
            "filled_qty": str(filled),
            "filled_avg_price": str(price) if filled else None,
        }
        self.orders[body["client_order_id"]] = order
        return 200, order

    def _cancel(self, order_id: str) -> tuple[int, Any]:
        order = next((each for each in self.orders.values() if each["id"] == order_id), None)
        if order is None:
            return 404, {"code": 40410000, "message": "order not found"}
        if order["status"] in ("filled", "canceled"):
            return 422, {"code": 42210000, "message": "order is not cancelable"}
        order["status"] = "canceled"
        return 204, None


@contextmanager
def serving(alpaca: AlpacaServer) -> Iterator[AlpacaServer]:
    """The server at `alpaca.url` for the length of a block."""

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            alpaca.calls.append((self.command, self.path))
            waiting = alpaca.faults.get(self.command, [])
            fault = waiting.pop(0) if waiting else ""
            if any(self.headers.get(name) != value for name, value in KEYS.items()):
                return self._say(403, json.dumps({"message": "forbidden."}))
            if fault in ("503", "429"):
                return self._say(int(fault), "busy")
            if fault == "no json":
                return self._say(200, "<html>maintenance</html>")
            if fault == "times out":
                time.sleep(1.0)
                return None
            if fault == "drops":
                self.close_connection = True
                return None
            status, answer = alpaca.answer(self.command, self.path, body)
            if fault == "accepts and times out":
                time.sleep(1.0)
                return None
            return self._say(status, "" if answer is None else json.dumps(answer))

        do_GET = do_POST = do_DELETE = _do

        def _say(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    alpaca.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield alpaca
    finally:
        server.shutdown()
        server.server_close()
