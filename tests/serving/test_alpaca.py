"""Alpaca's API as a broker, against a local server that answers and fails as it does."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from alpaca_server import KEYS, AlpacaServer, serving
from flag_kedro.env.config import EnvConfig
from flag_kedro.errors import ParameterError
from flag_kedro.serving.alpaca import KEY, PAPER, SECRET, AlpacaBroker
from flag_kedro.serving.config import TradeConfig
from flag_kedro.serving.ledger import Line
from flag_kedro.serving.orders import BrokerError, Order
from flag_kedro.serving.trade import Traded, TradingStopped, trade

NOW = datetime(2026, 1, 5, 22, tzinfo=UTC)
BUY = Order(id="a" * 40, symbol="AAPL", session="2026-01-05", side="buy", money=1_000.0)
SELL = Order(id="b" * 40, symbol="AAPL", session="2026-01-06", side="sell", shares=4.0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[AlpacaServer]:
    monkeypatch.setenv(KEY, KEYS["APCA-API-KEY-ID"])
    monkeypatch.setenv(SECRET, KEYS["APCA-API-SECRET-KEY"])
    with serving(AlpacaServer({"AAPL": 250.0, "MSFT": 400.0})) as alpaca:
        yield alpaca


@pytest.fixture
def broker(server: AlpacaServer) -> AlpacaBroker:
    return AlpacaBroker(server.url, timeout=0.5, sleep=lambda seconds: None)


def test_buy_and_sell(broker: AlpacaBroker, server: AlpacaServer):
    bought = broker.submit(BUY)
    assert (bought.status, bought.shares, bought.price, bought.cash) == ("filled", 4.0, 250.0, -1_000.0)
    assert broker.account().positions == {"AAPL": 4.0}
    server.prices["AAPL"] = 260.0
    sold = broker.submit(SELL)
    assert (sold.status, sold.cash) == ("filled", 1_040.0)
    assert broker.account().equity == 100_040.0
    assert broker.find([BUY.id, "unknown", SELL.id]) == {BUY.id: bought, SELL.id: sold}


@pytest.mark.parametrize("fault", ["accepts and times out", "times out", "drops", "503", "429", "no json"])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_one_order_arrives_once_whatever_goes_wrong(
    broker: AlpacaBroker, server: AlpacaServer, method: str, fault: str, caplog: pytest.LogCaptureFixture
):
    server.faults = {method: [fault, fault]}
    with caplog.at_level(logging.WARNING):
        state = broker.submit(BUY)
        assert broker.find([BUY.id]) == {BUY.id: state}
    assert "asking again" in caplog.text
    assert (state.status, state.shares) == ("filled", 4.0)
    assert server.cash == 99_000.0


def test_a_server_that_stays_away_is_said_to_and_asking_again_later_is_safe(broker: AlpacaBroker, server: AlpacaServer):
    server.faults = {"POST": ["accepts and times out"] + ["times out"] * 4}
    with pytest.raises(BrokerError, match=r"no usable answer in 5 tries; .* the same command again sends none twice"):
        broker.submit(BUY)
    assert broker.submit(BUY).status == "filled"
    assert server.cash == 99_000.0


def test_rejections_are_told(broker: AlpacaBroker, server: AlpacaServer):
    poor = broker.submit(replace(BUY, money=1e9))
    assert poor.status == "rejected"
    assert "insufficient buying power" in str(poor.reason)
    assert "asset NONE not found" in str(broker.submit(replace(BUY, symbol="NONE")).reason)
    assert "insufficient qty" in str(broker.submit(SELL).reason)


def test_a_partial_fill_is_cancelled_and_counts_as_far_as_it_went(broker: AlpacaBroker, server: AlpacaServer):
    server.fill_share = 0.25
    assert broker.submit(BUY).status == "open"
    state = broker.cancel(BUY.id)
    assert (state.status, state.shares, state.cash) == ("cancelled", 1.0, -250.0)
    assert broker.cancel(BUY.id) == state
    with pytest.raises(BrokerError, match="has no order nobody"):
        broker.cancel("nobody")


def test_an_order_that_fills_while_it_is_cancelled_stays_filled(broker: AlpacaBroker, server: AlpacaServer):
    server.fill_share = 0.25
    broker.submit(BUY)
    take_back = server._cancel

    def fill_first(order_id: str) -> tuple[int, object]:
        server.orders[BUY.id] |= {"status": "filled", "filled_qty": "4.0"}
        return take_back(order_id)

    server._cancel = fill_first  # type: ignore[method-assign]
    assert broker.cancel(BUY.id).status == "filled"


def test_keys(broker: AlpacaBroker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(SECRET, "wrong")
    with pytest.raises(ParameterError, match=f"does not take these keys .* set {KEY} and {SECRET} to those of a paper"):
        broker.account()
    monkeypatch.delenv(SECRET)
    with pytest.raises(ParameterError, match=f"the environment has no {SECRET}"):
        AlpacaBroker(broker.url).account()


def test_a_blocked_account_is_said_to_be(broker: AlpacaBroker, server: AlpacaServer):
    server.blocked = True
    with pytest.raises(BrokerError, match="must not trade: it says trading_blocked"):
        broker.account()


def test_paper_is_the_default_and_real_money_is_known():
    assert AlpacaBroker().url == PAPER
    assert not AlpacaBroker().real_money
    assert AlpacaBroker("https://api.alpaca.markets").real_money
    assert AlpacaBroker("https://proxy.example").real_money
    with pytest.raises(ParameterError, match=r"trade\.url is http://proxy\.example; keys are sent to https"):
        AlpacaBroker("http://proxy.example").account()
    with pytest.raises(ParameterError, match=r"Alpaca's live account at .* is real money"):
        ordered(AlpacaBroker("https://api.alpaca.markets"), [], Path())


def ordered(broker: AlpacaBroker, lines: list[Line], folder: Path) -> Traded:
    config, env = TradeConfig(broker="alpaca", money=2_000.0), EnvConfig()
    prices = {"AAPL": 250.0, "MSFT": 400.0}
    return trade(lines, broker, config, env, prices, folder / "orders.jsonl", folder / "STOP", lambda: NOW)


def line(symbol: str, action: str, position: int = 0, day: int = 5) -> Line:
    return {
        "id": f"{symbol}{action}{day}".ljust(64, "0"),
        "symbol": symbol,
        "session": f"2026-01-0{day}",
        "fills_at": f"2026-01-0{day + 1}T14:30:00+00:00",
        "action": action,
        "position": position,
    }


def test_decisions_become_orders_and_open_ones_are_cancelled_by_the_kill_switch(
    broker: AlpacaBroker, server: AlpacaServer, tmp_path: Path
):
    server.fill_share = 0.5
    traded = ordered(broker, [line("AAPL", "buy"), line("MSFT", "hold")], tmp_path)
    assert ([state.status for state in traded.orders], traded.num_holds) == (["open"], 1)
    assert traded.positions == {"AAPL": 2.0}
    assert traded.equity == 2_000.0
    assert not traded.real_money
    sold = line("AAPL", "sell", position=1, day=6)
    assert "is still open" in ordered(broker, [line("AAPL", "buy"), sold], tmp_path).refused["AAPL"]
    (tmp_path / "STOP").touch()
    with pytest.raises(TradingStopped, match=r"1 open order\(s\) were cancelled"):
        ordered(broker, [], tmp_path)
    (tmp_path / "STOP").unlink()
    server.fill_share = 1.0
    assert ordered(broker, [line("AAPL", "buy"), sold], tmp_path).orders[0].shares == 2.0
    assert server.positions["AAPL"] == 0.0


def test_what_an_account_holds_besides_is_left_alone(broker: AlpacaBroker, server: AlpacaServer, tmp_path: Path):
    server.positions["AAPL"] = 17.0
    assert ordered(broker, [line("AAPL", "buy")], tmp_path).positions == {"AAPL": 4.0}
    ordered(broker, [line("AAPL", "sell", position=1, day=6)], tmp_path)
    assert server.positions["AAPL"] == 17.0


def test_shares_that_somebody_else_sold_are_missed_and_a_blocked_account_orders_nothing(
    broker: AlpacaBroker, server: AlpacaServer, tmp_path: Path
):
    ordered(broker, [line("AAPL", "buy")], tmp_path)
    server.positions["AAPL"] = 1.0
    sold = line("AAPL", "sell", position=1, day=6)
    assert "the broker holds 1 of the 4 shares" in ordered(broker, [sold], tmp_path).refused["AAPL"]
    server.positions["AAPL"], server.blocked = 4.0, True
    with pytest.raises(BrokerError, match="must not trade"):
        ordered(broker, [sold], tmp_path)
    assert server.positions["AAPL"] == 4.0
