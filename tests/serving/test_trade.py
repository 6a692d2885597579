"""Orders from decisions: the backtest's own account on paper, nothing lost or sent twice, and limits that stop."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from flag_kedro.backtest.replay import Replay, replay
from flag_kedro.data.config import DataConfig, WindowsConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import Decisions, States
from flag_kedro.errors import DataError, ParameterError
from flag_kedro.experiments.folds import common_sessions, roll_folds
from flag_kedro.names import POLICY
from flag_kedro.serving.config import TradeConfig
from flag_kedro.serving.ledger import Line, read
from flag_kedro.serving.orders import Order, OrderState
from flag_kedro.serving.simulated_broker import SimulatedBroker
from flag_kedro.serving.trade import Traded, TradingStopped, trade

MONEY = 90_000.0
ENV = EnvConfig(cost_bps=7.0)
BEFORE = datetime(2000, 1, 1, tzinfo=UTC)


def drawn(states: States, generator: np.random.Generator) -> Decisions:
    return Decisions(np.argmax(generator.random((len(states), 3)) * states.action_mask, axis=1))


@pytest.fixture
def split(small_states: dict[str, pl.DataFrame]) -> MarketSplit:
    (fold,) = roll_folds(common_sessions(small_states), train=20, validation=10, test=20, folds=1)
    windows = WindowsConfig(train=fold.train, validation=fold.validation, test=fold.test)
    return MarketSplit.of(small_states, DataConfig(windows=windows), ENV)


@pytest.fixture
def played(split: MarketSplit) -> Replay:
    env = replace(ENV, initial_cash=MONEY / len(split.states))
    generator = np.random.default_rng(3)  # one for each test, whichever ran before
    return replay(POLICY, split.test, env, lambda states: drawn(states, generator))


def as_ledger(played: Replay) -> list[Line]:
    return [
        {
            **row,
            "id": f"{index:064x}"[::-1],
            "session": row["session"].isoformat(),
            "fills_at": (BEFORE + timedelta(days=1 + index)).isoformat(),
        }
        for index, row in enumerate(played.decisions.sort("session", "symbol").iter_rows(named=True))
    ]


def up_to(split: MarketSplit, session: str) -> dict[str, pl.DataFrame]:
    day = datetime.fromisoformat(session).date()
    return {name: table.filter(pl.col("session") <= day) for name, table in split.states.items()}


def closes(states: dict[str, pl.DataFrame]) -> dict[str, float]:
    return {name: float(table["mark_price"][-1]) for name, table in states.items()}


class Desk:
    """A trader who comes once after each close."""

    def __init__(self, split: MarketSplit, folder: Path, **config: Any) -> None:
        self.split, self.folder = split, folder
        self.config = TradeConfig(money=MONEY, **config)
        self.wrap: Callable[[SimulatedBroker], Any] = lambda broker: broker

    def come(self, lines: list[Line], session: str, now: datetime = BEFORE) -> Traded:
        states = up_to(self.split, session)
        broker = self.wrap(SimulatedBroker(self.folder / "broker.json", states, ENV, MONEY))
        known = [line for line in lines if line["session"] <= session]
        orders, stop = self.folder / "orders.jsonl", self.folder / "STOP"
        return trade(known, broker, self.config, ENV, closes(states), orders, stop, lambda: now)


@pytest.fixture
def desk(split: MarketSplit, tmp_path: Path) -> Desk:
    return Desk(split, tmp_path)


def sessions_of(lines: list[Line]) -> list[str]:
    return sorted({line["session"] for line in lines})


def test_a_window_traded_day_by_day_on_paper_ends_with_the_backtest_s_equity(desk: Desk, played: Replay):
    lines = as_ledger(played)
    equity = played.equity.group_by("session").agg(pl.col("equity").sum())
    on_day = {str(day): value for day, value in equity.iter_rows()}
    num_orders = 0
    for session in sessions_of(lines):
        traded = desk.come(lines, session)
        assert traded.equity == pytest.approx(on_day[session], rel=1e-12)
        assert not traded.refused
        num_orders += len(traded.orders)
    asked = played.decisions.filter(pl.col("action") != "hold").height
    assert num_orders == asked == len(list(read(desk.folder / "orders.jsonl"))) > 10


def test_the_same_call_again_orders_nothing(desk: Desk, played: Replay):
    lines = as_ledger(played)
    session = next(line["session"] for line in lines if line["action"] == "buy")
    first = desk.come(lines, session)
    again = desk.come(lines, session)
    assert {state.id for state in first.orders} == {state.id for state in again.orders}
    assert len(list(read(desk.folder / "orders.jsonl"))) == len(first.orders)
    later = desk.come([line for line in lines if line["session"] <= session], sessions_of(lines)[-1])
    assert later.orders == []
    assert {state.status for state in later.earlier} == {"filled"}


class Dies(Exception):
    """As SIGKILL does."""


class DiesOnSubmit:
    """Takes the order, or not, and then the process is gone."""

    name, real_money = "dying", False

    def __init__(self, broker: SimulatedBroker, *, arrives: bool) -> None:
        self.broker, self.arrives = broker, arrives
        self.account, self.cancel, self.find = broker.account, broker.cancel, broker.find

    def submit(self, order: Order) -> OrderState:
        if self.arrives:
            self.broker.submit(order)
        raise Dies


@pytest.mark.parametrize("arrives", [False, True])
def test_who_is_killed_at_an_order_loses_and_doubles_nothing(desk: Desk, played: Replay, *, arrives: bool):
    lines = as_ledger(played)
    sessions = sessions_of(lines)
    for session in sessions:
        desk.wrap = lambda broker: DiesOnSubmit(broker, arrives=arrives)
        for _ in range(4):
            try:
                desk.come(lines, session)
            except Dies:
                continue
            break
        desk.wrap = lambda broker: broker
        desk.come(lines, session)
    final = desk.come(lines, sessions[-1]).equity
    assert final == pytest.approx(
        played.equity.filter(session=played.equity["session"].max())["equity"].sum(), rel=1e-12
    )


def test_a_decision_whose_fill_may_have_been_made_is_not_ordered(desk: Desk, played: Replay):
    lines = as_ledger(played)
    session = next(line["session"] for line in lines if line["action"] == "buy")
    traded = desk.come(lines, session, now=datetime(2100, 1, 1, tzinfo=UTC))
    assert traded.orders == []
    assert traded.num_late == sum(line["session"] == session and line["action"] != "hold" for line in lines)
    assert not (desk.folder / "orders.jsonl").exists()


def test_a_file_stops_trading_and_cancels_what_is_open(desk: Desk, played: Replay):
    lines = as_ledger(played)
    session = next(line["session"] for line in lines if line["action"] == "buy")
    num_open = len(desk.come(lines, session).orders)
    (desk.folder / "STOP").touch()
    with pytest.raises(TradingStopped, match=rf"STOP is there; remove it .* {num_open} open order\(s\) were cancelled"):
        desk.come(lines, session)
    (desk.folder / "STOP").unlink()
    after = desk.come([line for line in lines if line["session"] <= session], sessions_of(lines)[-1])
    assert after.positions == {}
    assert after.equity == MONEY


def test_a_loss_stops_trading(split: MarketSplit, tmp_path: Path, played: Replay):
    lines = as_ledger(played)
    on_day = played.equity.group_by("session").agg(pl.col("equity").sum()).sort("session")
    worst = on_day.row(on_day["equity"].arg_min(), named=True)
    loss = 1.0 - worst["equity"] / MONEY
    assert loss > 0.0
    desk = Desk(split, tmp_path, max_loss=loss * 0.999)
    sessions = sessions_of(lines)
    for session in sessions[: sessions.index(str(worst["session"]))]:
        desk.come(lines, session)
    with pytest.raises(TradingStopped, match=r"is lost \(trade\.max_loss is .*raise the limit"):
        desk.come(lines, str(worst["session"]))


def test_a_purchase_is_no_larger_than_its_limit(split: MarketSplit, tmp_path: Path, played: Replay):
    lines = as_ledger(played)
    session = next(line["session"] for line in lines if line["action"] == "buy")
    desk = Desk(split, tmp_path, max_position=0.1)
    desk.come(lines, session)
    (row, *_) = list(read(tmp_path / "orders.jsonl"))
    assert row["money"] == pytest.approx(0.1 * MONEY)


def test_a_decision_from_another_position_is_refused(desk: Desk, played: Replay):
    lines = as_ledger(played)
    sold = next(line for line in lines if line["action"] == "sell")
    traded = desk.come([sold], sold["session"])
    assert traded.orders == []
    assert "it was decided from long, but the account is flat" in traded.refused[sold["symbol"]]


def test_what_is_cancelled_or_unknown_at_the_broker(desk: Desk, split: MarketSplit, played: Replay):
    lines = as_ledger(played)
    session = next(line["session"] for line in lines if line["action"] == "buy")
    (state, *_) = desk.come(lines, session).orders
    broker = SimulatedBroker(desk.folder / "broker.json", up_to(split, session), ENV, MONEY)
    assert broker.cancel(state.id).status == "cancelled"
    assert broker.cancel(state.id).status == "cancelled"
    later = SimulatedBroker(desk.folder / "broker.json", split.states, ENV, MONEY)
    assert later.find([state.id])[state.id].status == "cancelled"
    assert later.find(["nobody"]) == {}


def test_a_damaged_file_of_orders_is_named(desk: Desk, split: MarketSplit):
    (desk.folder / "broker.json").write_text('[{"order": {"id": 1')
    with pytest.raises(DataError, match=r"broker\.json are no orders of a simulated broker"):
        SimulatedBroker(desk.folder / "broker.json", split.states, ENV, MONEY).account()


def test_a_split_keeps_the_value_of_what_is_held(desk: Desk, split: MarketSplit, played: Replay):
    """Adjusted prices halve in the past; shares bought then are twice as many, and all of them are sold."""
    lines = as_ledger(played)
    session = next(line["session"] for line in lines if line["action"] == "buy")
    desk.come(lines, session)
    halved = {
        name: table.with_columns(pl.col("open_price", "mark_price") / 2.0) for name, table in split.states.items()
    }
    before = SimulatedBroker(desk.folder / "broker.json", split.states, ENV, MONEY).account()
    after = SimulatedBroker(desk.folder / "broker.json", halved, ENV, MONEY).account()
    assert after.equity == pytest.approx(before.equity, rel=1e-12)
    assert all(after.positions[name] == pytest.approx(2.0 * number) for name, number in before.positions.items())


def test_real_money_and_what_cannot_be_traded_is_refused(desk: Desk, played: Replay):
    lines = as_ledger(played)
    desk.wrap = lambda broker: type("Real", (), {"name": "a bank", "real_money": True})()
    with pytest.raises(ParameterError, match=r"a bank is real money; .* unless trade\.real_money is true"):
        desk.come(lines, lines[0]["session"])


def test_a_stop_of_the_environment_is_not_traded(desk: Desk, played: Replay, monkeypatch: pytest.MonkeyPatch):
    lines = as_ledger(played)
    monkeypatch.setitem(globals(), "ENV", replace(ENV, max_drawdown_stop=0.1))
    with pytest.raises(ParameterError, match=r"closes positions without a decision"):
        desk.come(lines, lines[0]["session"])


def test_orders_of_a_symbol_that_is_gone_are_named(desk: Desk, split: MarketSplit, played: Replay):
    lines = as_ledger(played)
    bought = next(line for line in lines if line["action"] == "buy")
    desk.come([bought], bought["session"])
    desk.split = split.with_states({name: table for name, table in split.states.items() if name != bought["symbol"]})
    desk.wrap = lambda broker: SimulatedBroker(desk.folder / "broker.json", split.states, ENV, MONEY)
    with pytest.raises(DataError, match=f"earlier orders were of {bought['symbol']}, which this policy does not trade"):
        desk.come(lines, bought["session"])
