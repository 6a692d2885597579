"""Fills in cash and shares. The accounts' dates and symbols belong to the environment's tests."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flag_kedro.env.account import BUY, HOLD, SELL, Accounts, refuse_masked

CASH = st.floats(1.0, 1e7)
COST = st.floats(0.0, 0.2)
PRICES = st.lists(st.floats(0.01, 1e5), min_size=1, max_size=12)


def _at(price: float) -> np.ndarray:
    return np.array([price])


def _do(accounts: Accounts, action: int, price: float, cost: float) -> float:
    return float(accounts.fill(np.array([action]), _at(price), cost)[0])


def test_buying_spends_all_cash_on_shares_and_their_cost() -> None:
    # 1,000 buys 100 shares at 8 for 800 and pays 25 % of 800 = 200
    accounts = Accounts.open(1, 1_000.0)
    assert _do(accounts, BUY, 8.0, 0.25) == 800.0
    assert accounts.shares[0] == 100.0
    assert accounts.cash[0] == 0.0
    assert accounts.equity(_at(8.0))[0] == 800.0


def test_selling_brings_the_value_less_its_cost() -> None:
    # 100 shares at 12 are worth 1,200, of which 25 % = 300 are paid
    accounts = Accounts.open(1, 1_000.0)
    _do(accounts, BUY, 8.0, 0.25)
    assert _do(accounts, SELL, 12.0, 0.25) == 1_200.0
    assert accounts.cash[0] == 900.0
    assert accounts.shares[0] == 0.0


def test_holding_trades_nothing() -> None:
    accounts = Accounts.open(1, 1_000.0)
    assert _do(accounts, HOLD, 8.0, 0.25) == 0.0
    assert accounts.equity(_at(8.0))[0] == 1_000.0


def test_sell_is_masked_when_flat_and_buy_when_long() -> None:
    accounts = Accounts.open(2, 1_000.0)
    accounts.fill(np.array([BUY, HOLD]), np.array([8.0, 8.0]), 0.25)
    assert accounts.action_mask().tolist() == [[True, True, False], [False, True, True]]


def test_mask_follows_the_position_and_not_the_float_left_in_cash() -> None:
    accounts = Accounts.open(1, 1_000.0)
    accounts.fill(np.array([BUY]), _at(3.0), 0.001)
    accounts.cash[:] = 1e-9  # as rounding might leave it
    accounts.shares[:] = 0.0
    assert accounts.action_mask().tolist() == [[True, True, False]]


def test_sessions_held_counts_marks_since_the_purchase() -> None:
    accounts = Accounts.open(1, 1_000.0)
    held = []
    for action in (HOLD, BUY, HOLD, HOLD, SELL, HOLD, BUY):
        _do(accounts, action, 8.0, 0.25)
        held.append(int(accounts.sessions_held[0]))
    assert held == [0, 1, 2, 3, 0, 0, 1]


def test_unrealised_return_is_measured_from_the_last_purchase() -> None:
    accounts = Accounts.open(1, 1_000.0)
    assert accounts.unrealised_return(_at(8.0))[0] == 0.0
    _do(accounts, BUY, 8.0, 0.25)
    assert accounts.unrealised_return(_at(10.0))[0] == 0.25  # 10 / 8 - 1
    _do(accounts, SELL, 10.0, 0.25)
    assert accounts.unrealised_return(_at(50.0))[0] == 0.0
    _do(accounts, BUY, 20.0, 0.25)
    assert accounts.unrealised_return(_at(15.0))[0] == -0.25  # 15 / 20 - 1


def test_reset_touches_only_the_chosen_accounts() -> None:
    accounts = Accounts.open(2, 1_000.0)
    accounts.fill(np.array([BUY, BUY]), np.array([8.0, 8.0]), 0.25)
    accounts.reset(np.array([True, False]), 1_000.0)
    assert accounts.cash.tolist() == [1_000.0, 0.0]
    assert accounts.shares.tolist() == [0.0, 100.0]
    assert accounts.position.tolist() == [0, 1]
    assert accounts.sessions_held.tolist() == [0, 1]
    assert accounts.entry_price[1] == 8.0


@settings(deadline=None)
@given(cash=CASH, cost=COST, prices=PRICES, seed=st.integers(0, 2**32 - 1))
def test_wealth_at_the_fill_price_falls_by_the_cost_of_the_trade_alone(
    cash: float, cost: float, prices: list[float], seed: int
) -> None:
    accounts, rng = Accounts.open(1, cash), np.random.default_rng(seed)
    for price in prices:
        before = accounts.equity(_at(price))[0]
        action = int(rng.choice(np.flatnonzero(accounts.action_mask()[0])))
        traded = _do(accounts, action, price, cost)
        assert accounts.equity(_at(price))[0] == pytest.approx(before - cost * traded, rel=1e-12)


@settings(deadline=None)
@given(cash=CASH, cost=COST, prices=PRICES, seed=st.integers(0, 2**32 - 1))
def test_neither_cash_nor_shares_are_ever_negative(cash: float, cost: float, prices: list[float], seed: int) -> None:
    accounts, rng = Accounts.open(1, cash), np.random.default_rng(seed)
    for price in prices:
        _do(accounts, int(rng.choice(np.flatnonzero(accounts.action_mask()[0]))), price, cost)
        assert accounts.cash[0] >= 0.0
        assert accounts.shares[0] >= 0.0
        assert (accounts.cash[0] == 0.0) == (accounts.position[0] == 1)
        assert (accounts.shares[0] > 0.0) == (accounts.position[0] == 1)


@settings(deadline=None)
@given(cash=CASH, cost=COST, prices=PRICES, seed=st.integers(0, 2**32 - 1))
def test_many_accounts_trade_as_each_would_alone(cash: float, cost: float, prices: list[float], seed: int) -> None:
    together, rng = Accounts.open(20, cash), np.random.default_rng(seed)
    alone = [Accounts.open(1, cash) for _ in range(20)]
    for price in prices:
        scores = rng.random((20, 3))
        actions = np.argmax(np.where(together.action_mask(), scores, -1.0), axis=1)
        together.fill(actions, np.full(20, price), cost)
        for account, action in zip(alone, actions, strict=True):
            _do(account, int(action), price, cost)
    assert together.cash.tolist() == [account.cash[0] for account in alone]
    assert together.shares.tolist() == [account.shares[0] for account in alone]


@pytest.mark.parametrize(
    ("action", "mask", "position", "message"),
    [
        (
            0,
            [False, True, True],
            0,
            r"action 0 \(sell\) is masked at XOM 2024-05-06: the account is flat; .*: hold, buy$",
        ),
        (
            2,
            [True, True, False],
            1,
            r"action 2 \(buy\) is masked at XOM 2024-05-06: the account is long; .*: sell, hold$",
        ),
        (-1, [False, True, True], 0, r"action -1 \(unknown\) is masked at XOM 2024-05-06"),
        (3, [True, True, False], 1, r"action 3 \(unknown\) is masked at XOM 2024-05-06"),
    ],
)
def test_refusal_names_symbol_date_position_and_what_is_legal(
    action: int, mask: list[bool], position: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        refuse_masked("XOM", date(2024, 5, 6), action, np.array(mask), position)
