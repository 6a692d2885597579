"""Portfolios: rebalancing by hand, against one symbol's environment, and properties of any path."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from flag_kedro.env.account import BUY, HOLD, SELL
from flag_kedro.env.config import EnvConfig, PortfolioConfig
from flag_kedro.env.portfolio import PortfolioVectorEnv, holding_texts
from flag_kedro.env.portfolio_account import PortfolioAccounts, equity_after_costs
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import DataError

ALL = np.array([True])
Make = Callable[..., TradingWindow]


def account(cash: float, *shares: float) -> PortfolioAccounts:
    return PortfolioAccounts(np.array([cash]), np.array([shares]))


def test_half_of_each_without_costs_is_half_of_each():
    own = account(100.0, 0.0, 0.0)
    traded = own.rebalance(np.array([[0.5, 0.25]]), np.array([[10.0, 5.0]]), 0.0, ALL)
    assert (own.shares.tolist(), own.cash.tolist(), traded.tolist()) == ([[5.0, 5.0]], [25.0], [75.0])


def test_costs_are_of_the_value_traded_from_drifted_weights():
    # 10 shares have doubled to 20 each: 200 of 300. Half of what is left, 1 % a trade: L + 0.01 (200 - L / 2) = 300
    own = account(100.0, 10.0)
    traded = own.rebalance(np.array([[0.5]]), np.array([[20.0]]), 0.01, ALL)
    left = (300.0 - 2.0) / (1.0 - 0.005)
    assert own.equity(np.array([[20.0]]))[0] == pytest.approx(left)
    assert own.weights(np.array([[20.0]]))[0, 0] == pytest.approx(0.5)
    assert traded[0] == pytest.approx(200.0 - left / 2)


def test_who_does_not_trade_keeps_shares_and_cash():
    own = account(100.0, 10.0)
    assert own.rebalance(np.array([[0.1]]), np.array([[20.0]]), 0.01, np.array([False]))[0] == 0.0
    assert (own.shares[0, 0], own.cash[0]) == (10.0, 100.0)


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(-200, 200)), min_size=1, max_size=6),
    st.floats(0.0, 0.05),
    st.floats(1.0, 500.0),
)
def test_what_costs_leave_is_the_one_root(rows: list[tuple[float, float]], cost: float, before: float):
    targets, held = np.array(rows).T
    targets = targets / max(1.0, np.abs(targets).sum())
    found = float(equity_after_costs(np.array([before]), held[None], targets[None], cost)[0])

    def excess(left: float) -> float:
        return left + cost * np.abs(targets * left - held).sum() - before

    expected = brentq(excess, -1e5, 1e5, xtol=1e-10)
    assert found == pytest.approx(expected, abs=1e-6)


@settings(max_examples=1000, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    fill=st.sampled_from(["next_open", "next_close", "same_close"]),
    cost=st.sampled_from([0.0, 5.0, 100.0]),
)
def test_one_symbol_with_weights_of_0_and_1_is_the_single_environment(
    make_window: Make, seed: int, fill: str, cost: float
):
    generator = np.random.default_rng(seed)
    closes = 100.0 * np.exp(np.cumsum(generator.normal(0.0, 0.03, 12)))
    opens = closes * np.exp(generator.normal(0.0, 0.01, 12))
    window = make_window(fill, A=(opens, closes))
    config = EnvConfig(cost_bps=cost, slippage_bps=0.0, fill=fill, cash_rate=0.03)
    single, whole = (
        TradingVectorEnv(window, config),
        PortfolioVectorEnv(window, config, PortfolioConfig(threshold=1e-3)),
    )
    single.reset()
    whole.reset()
    weight = 0.0
    for _ in range(11):
        action = int(generator.choice(np.flatnonzero(single.accounts.action_mask()[0])))
        weight = {SELL: 0.0, HOLD: weight, BUY: 1.0}[action]
        _, expected, *_, info = single.step(np.array([action]))
        rewards, *_, found = whole.step(np.array([[weight]]))
        assert found["equity"][0] == pytest.approx(info["equity"][0], rel=1e-9)
        assert rewards[0] == pytest.approx(expected[0], abs=1e-9)
        assert found["traded_value"][0] == pytest.approx(info["traded_value"][0], rel=1e-9, abs=1e-6)


def test_interest_is_on_free_cash_and_borrowed_cash_and_shares_cost():
    marks, year = np.array([[10.0, 10.0]]), np.array([1.0])
    cases = {
        (100.0, 0.0, 0.0): 5.0,  # cash alone
        (100.0, 5.0, -5.0): 0.05 * 50.0 - 0.01 * 50.0,  # half of the cash is collateral
        (-100.0, 20.0, 0.0): -(0.05 + 0.01) * 100.0,  # a loan
    }
    for (cash, *shares), expected in cases.items():
        own = account(cash, *shares)
        own.accrue(marks, year, 0.05, 0.01)
        assert own.cash[0] - cash == pytest.approx(expected)


def test_costs_that_take_all_that_is_left_close_the_account():
    own = account(1001.0, -100.0)
    own.rebalance(np.array([[-1.0]]), np.array([[10.0]]), 0.01, ALL)
    assert own.shares[0, 0] == 0.0
    assert own.cash[0] == pytest.approx(1.0 - 10.0)
    assert own.weights(np.array([[10.0]]))[0, 0] == 0.0


@pytest.mark.parametrize(("fill", "expected"), [("next_open", 0.5), ("next_close", 0.0), ("same_close", 0.5)])
def test_what_is_held_over_a_return_is_as_the_single_account_counts(make_window: Make, fill: str, expected: float):
    window = make_window(fill, A=[10.0] * 4)
    env = PortfolioVectorEnv(window, EnvConfig(cost_bps=0, slippage_bps=0, fill=fill), PortfolioConfig())
    env.reset()
    *_, info = env.step(np.array([[0.5]]))
    assert info["position"][0] == pytest.approx(expected)
    *_, info = env.step(np.array([[0.0]]))
    assert info["position"][0] == pytest.approx({"same_close": 0.0}.get(fill, 0.5))
    *_, info = env.step(None)
    assert info["traded_value"][0] == 0.0


def two_symbols(make_window: Make) -> TradingWindow:
    return make_window(
        "next_open",
        A=([10.0, 10.0, 10.0, 20.0], [10.0, 10.0, 20.0, 20.0]),
        B=([10.0] * 4, [10.0, 10.0, 10.0, 5.0]),
    )


def test_a_path_by_hand(make_window: Make):
    # half of each at 10; the first doubles by the mark: 150 = 100 + 50. Then all into the second at opens of 20 and 10.
    env = PortfolioVectorEnv(two_symbols(make_window), EnvConfig(cost_bps=0, slippage_bps=0), PortfolioConfig())
    env.reset()
    assert env.equity()[0] == 100_000.0
    env.step(np.array([[0.5, 0.5]]))
    _, _, _, info = env.step(np.array([[0.5, 0.5]]))
    assert info["equity"][0] == pytest.approx(150_000.0)
    assert info["held"][0] == pytest.approx([2 / 3, 1 / 3])
    rewards, terminated, truncated, info = env.step(np.array([[0.0, 1.0]]))
    assert info["traded_value"][0] == pytest.approx(200_000.0)
    assert info["equity"][0] == pytest.approx(75_000.0)
    assert rewards[0] == pytest.approx(np.log(0.5))
    assert (bool(terminated[0]), bool(truncated[0])) == (False, True)
    assert env.equity()[0] == 100_000.0  # it has begun anew
    assert len(info["final_states"]) == 2


def test_below_the_threshold_nothing_is_traded(make_window: Make):
    env = PortfolioVectorEnv(two_symbols(make_window), EnvConfig(), PortfolioConfig(threshold=0.2))
    env.reset()
    *_, info = env.step(np.array([[0.5, 0.5]]))
    assert info["traded_value"][0] > 0.0
    *_, info = env.step(np.array([[0.6, 0.4]]))
    assert info["traded_value"][0] == 0.0


def test_prompts_say_how_much_is_held_and_legal_actions_what_may_be(make_window: Make):
    window = two_symbols(make_window)
    env = PortfolioVectorEnv(window, EnvConfig(cost_bps=0, slippage_bps=0), PortfolioConfig())
    env.reset()
    assert list(env.states().account) == [" none. Decision:"] * 2
    env.step(np.array([[0.9, 0.05]]))
    states = env.states()
    assert list(states.account) == [" most. Decision:", " some. Decision:"]
    assert list(states.prefix) == [window.prefixes[0][1], window.prefixes[1][1]]
    assert states.action_mask.tolist() == [[False, True, True]] * 2
    assert set(states.account) <= set(holding_texts("long_flat"))


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ([[0.7, 0.7]], "weights sum to 1.400000, portfolio.gross allows 1"),
        ([[-0.1, 0.5]], "a weight is -0.100000, but env.positions is long_flat"),
        ([[np.nan, 0.5]], "finite numbers"),
        ([[0.5]], "finite numbers"),
    ],
)
def test_weights_that_cannot_be_are_refused(make_window: Make, targets: list[list[float]], words: str):
    env = PortfolioVectorEnv(two_symbols(make_window), EnvConfig(), PortfolioConfig())
    env.reset()
    with pytest.raises(ValueError, match=words):
        env.step(np.array(targets))


@pytest.mark.parametrize("positions", ["long_flat", "long_short"])
def test_an_environment_goes_on_from_a_snapshot(make_window: Make, positions: str):
    generator = np.random.default_rng(1)
    closes = 100.0 * np.exp(np.cumsum(generator.normal(0.0, 0.02, (3, 30)), axis=1))
    window = make_window("next_open", positions=positions, **dict(zip("ABC", closes, strict=True)))
    config = EnvConfig(positions=positions, reward="differential_sharpe", max_episode_steps=7)
    first, second = (PortfolioVectorEnv(window, config, PortfolioConfig(gross=2.0), 4) for _ in range(2))
    first.reset(np.array([0, 3, 9, 20]))

    def targets() -> np.ndarray:
        drawn = generator.dirichlet(np.ones(4), 4)[:, :3] * 2.0
        return drawn * (generator.choice([-1.0, 1.0], drawn.shape) if positions == "long_short" else 1.0)

    for _ in range(10):
        first.step(targets())
    second.restore(first.snapshot())
    for _ in range(15):
        asked = targets()
        for one, other in zip(first.step(asked)[:3], second.step(asked)[:3], strict=True):
            np.testing.assert_array_equal(one, other)
        assert first.states().account == second.states().account


def test_a_short_that_loses_all_is_ruined(make_window: Make):
    window = make_window("next_open", positions="long_short", A=([10.0] * 4, [10.0, 10.0, 30.0, 30.0]))
    env = PortfolioVectorEnv(window, EnvConfig(positions="long_short"), PortfolioConfig())
    env.reset()
    env.step(np.array([[-1.0]]))
    rewards, terminated, _, info = env.step(np.array([[-1.0]]))
    assert terminated[0]
    assert info["equity"][0] == pytest.approx(1e-4 * 100_000.0, rel=0.01)
    assert np.isfinite(rewards).all()


def test_symbols_of_other_sessions_are_refused(small_window: TradingWindow):
    late = replace(small_window, sessions=(small_window.sessions[0], small_window.sessions[1][:-1]))
    with pytest.raises(
        DataError, match=r"a portfolio needs all symbols on the same sessions; BRIX trade on others than"
    ):
        PortfolioVectorEnv(late, EnvConfig(), PortfolioConfig())
