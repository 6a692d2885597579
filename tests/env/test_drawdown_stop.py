"""`env.max_drawdown_stop`: worked by hand, and what holds on every market.

A cost of 25 %, 1,000 in cash, a stop at 25 % (test_long_account...): bought at 8 are 1,000 / (8 x 1.25) = 100 shares.

    session  open  close  filled        cash  shares  equity  peak   legal
       1       8    10    buy            0     100     1000   1000   sell, hold
       2      12    12    hold           0     100     1200   1200   sell, hold
       3      11     9    hold           0     100      900   1200   hold          900 = 1200 x (1 - 0.25)
       4       8    20    closed       600       0      600   1200   hold          100 x 8 x 0.75
       5      20    40    -            600       0      600   1200   hold
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flag_kedro.env.account import BUY, HOLD, SELL
from flag_kedro.env.config import EnvConfig, PortfolioConfig
from flag_kedro.env.portfolio import PortfolioVectorEnv
from flag_kedro.env.trading import TradingEnv, TradingVectorEnv
from flag_kedro.env.window import TradingWindow

MakeWindow = Callable[..., TradingWindow]
MakeConfig = Callable[..., EnvConfig]
OPENS, CLOSES = [10, 8, 12, 11, 8, 20], [10, 10, 12, 9, 20, 40]
ONLY_HOLD = [False, True, False]


def _play(env: TradingVectorEnv, actions: list[int]) -> tuple[list[float], list[list[bool]], list[float]]:
    """Equity, legal actions at each mark, and traded value of an account; at its last mark no mask is known."""
    equity, masks, traded = [], [], []
    for action in actions:
        *_, info = env.step(np.array([action]))
        equity.append(float(info["equity"][0]))
        traded.append(float(info["traded_value"][0]))
        masks.append((info.get("final_states") or env.states()).action_mask[0].tolist())
    return equity, masks, traded


def test_long_account_is_closed_at_the_fill_after_the_mark_and_stays_flat(
    make_window: MakeWindow, make_config: MakeConfig
) -> None:
    env = TradingVectorEnv(make_window("next_open", A=(OPENS, CLOSES)), make_config(max_drawdown_stop=0.25))
    equity, masks, traded = _play(env, [BUY, HOLD, HOLD, HOLD, HOLD])
    assert equity == [1_000.0, 1_200.0, 900.0, 600.0, 600.0]
    assert masks == [[True, True, False], [True, True, False], ONLY_HOLD, ONLY_HOLD, ONLY_HOLD]
    assert traded == [800.0, 0.0, 0.0, 800.0, 0.0]
    assert env.accounts.action_mask()[0].tolist() == [False, True, True]  # the next episode has begun


def test_a_drawdown_just_above_the_stop_stops_nothing(make_window: MakeWindow, make_config: MakeConfig) -> None:
    env = TradingVectorEnv(make_window("next_open", A=(OPENS, CLOSES)), make_config(max_drawdown_stop=0.2501))
    equity, _, _ = _play(env, [BUY, HOLD, HOLD, HOLD, HOLD])
    assert equity == [1_000.0, 1_200.0, 900.0, 2_000.0, 4_000.0]


def test_short_account_is_closed_and_may_go_neither_way(make_window: MakeWindow, make_config: MakeConfig) -> None:
    # sold short at 8: -100 shares, 1000 + 800 - 200 = 1600; 800 at a close of 8; 700 at 9, below 1000 x (1 - 0.25);
    # closed at 10 for 1000 + 250
    window = make_window("next_open", positions="long_short", A=([8, 8, 9, 10, 5], [8, 8, 9, 4, 2]))
    config = make_config(positions="long_short", borrow_bps_year=0.0, max_drawdown_stop=0.25)
    equity, masks, traded = _play(TradingVectorEnv(window, config), [SELL, HOLD, HOLD, HOLD])
    assert equity == [800.0, 700.0, 350.0, 350.0]
    assert masks == [[False, True, True], ONLY_HOLD, ONLY_HOLD, ONLY_HOLD]
    assert traded == [800.0, 0.0, 1_000.0, 0.0]


def test_a_cap_closes_in_parts_and_the_old_order_is_forgotten(make_window: MakeWindow, make_config: MakeConfig) -> None:
    # half of 80, then of 200 may be sold: 40 at 8 for 240, then 60 at 20 for 900
    volumes = [1_000, 1_000, 1_000, 1_000, 80, 200]
    window = make_window("next_open", A=(OPENS, CLOSES, volumes))
    env = TradingVectorEnv(window, make_config(max_drawdown_stop=0.25, max_participation=0.5))
    equity, masks, traded = _play(env, [BUY, HOLD, HOLD, HOLD, HOLD])
    assert equity == [1_000.0, 1_200.0, 900.0, 240.0 + 60 * 20, 1_140.0]
    assert masks[2:] == [ONLY_HOLD] * 3
    assert traded[3:] == [320.0, 1_200.0]


def test_a_purchase_under_way_is_not_gone_on_with(make_window: MakeWindow, make_config: MakeConfig) -> None:
    # 20 of 100 shares at 8 for 200: 800 + 20 x 2 = 840 <= 1000 x (1 - 0.15); sold at 8 for 120
    window = make_window("next_open", A=([8, 8, 8, 8], [8, 2, 8, 8], [40, 40, 40, 40]))
    env = TradingVectorEnv(window, make_config(max_drawdown_stop=0.15, max_participation=0.5))
    equity, masks, traded = _play(env, [BUY, HOLD, HOLD])
    assert equity == [840.0, 920.0, 920.0]
    assert masks[0] == ONLY_HOLD
    assert traded == [160.0, 160.0, 0.0]


def test_a_trade_in_a_stopped_account_is_refused(make_window: MakeWindow, make_config: MakeConfig) -> None:
    env = TradingVectorEnv(make_window("next_open", A=(OPENS, CLOSES)), make_config(max_drawdown_stop=0.25))
    for action in (BUY, HOLD, HOLD):
        env.step(np.array([action]))
    with pytest.raises(ValueError, match=r"action 0 \(sell\) is masked at A 2024-01-04.*valid actions: hold"):
        env.step(np.array([SELL]))


def test_single_agents_find_the_stop_in_their_masks(make_window: MakeWindow, make_config: MakeConfig) -> None:
    window, config = make_window("next_open", A=(OPENS, CLOSES)), make_config(max_drawdown_stop=0.25)
    env = TradingEnv(window, config, illegal="hold")
    env.reset()
    for action in (BUY, HOLD, HOLD):
        observation, *_ = env.step(action)
    assert env.action_masks().tolist() == observation["action_mask"].tolist() == [0, 1, 0]
    assert [env.action_space.sample() for _ in range(5)] == [HOLD] * 5
    assert env.step(BUY)[-1]["equity"] == 600.0


def test_a_new_episode_begins_with_a_peak_of_its_own(make_window: MakeWindow, make_config: MakeConfig) -> None:
    window = make_window("next_open", A=(OPENS, CLOSES))
    env = TradingVectorEnv(window, make_config(max_drawdown_stop=0.25, max_episode_steps=3))
    equity, _, _ = _play(env, [BUY, HOLD, HOLD, BUY, HOLD])
    assert equity[2] == 900.0
    assert env.accounts.action_mask()[0].tolist() == [False, True, True]  # after the window's end
    assert equity[3:] == [1_000 / 10 * 20, 1_000 / 10 * 40]  # bought at 8 in the second episode


@pytest.mark.parametrize("positions", ["long_flat", "long_short"])
def test_a_stopped_account_stands_where_its_snapshot_was_taken(
    positions: str, make_window: MakeWindow, make_config: MakeConfig
) -> None:
    closes = (100.0 * np.exp(np.cumsum(np.random.default_rng(3).normal(0.0, 0.1, (2, 40)), axis=1))).tolist()
    window = make_window("next_open", positions=positions, A=closes[0], B=closes[1])
    config = EnvConfig(
        positions=positions, max_drawdown_stop=0.1, max_episode_steps=9, drawdown_penalty=1.0, cvar_penalty=1.0,
        cvar_level=0.25,
    )  # fmt: skip
    one, other = (TradingVectorEnv(window, config, 3) for _ in range(2))
    one.action_space.seed(0)
    while not one.accounts.stopped.any():
        one.step(one.action_space.sample())
    other.restore(one.snapshot())
    for _ in range(30):
        actions = one.action_space.sample()
        for left, right in zip(one.step(actions)[1:4], other.step(actions)[1:4], strict=True):
            assert left.tolist() == right.tolist()
        assert one.states().action_mask.tolist() == other.states().action_mask.tolist()


CASES = st.fixed_dictionaries(
    {
        "fill": st.sampled_from(["next_open", "next_close", "same_close"]),
        "positions": st.sampled_from(["long_flat", "long_short"]),
        "max_participation": st.sampled_from([None, 0.5]),
        "cash_rate": st.sampled_from([0.0, 0.05]),
        "cost_bps": st.sampled_from([0.0, 100.0]),
    }
)


@given(seed=st.integers(0, 2**32 - 1), fields=CASES, stop=st.sampled_from([0.05, 0.2, 0.5]))
def test_equity_is_that_without_the_rule_until_it_stops_and_then_earns_interest_alone(
    seed: int, fields: dict[str, Any], stop: float, make_window: MakeWindow
) -> None:
    rng, num = np.random.default_rng(seed), 25
    prices = (100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.08, num)))).tolist()
    volumes = rng.integers(0, 30, num).tolist()
    window = make_window(fields["fill"], positions=fields["positions"], A=(prices, prices, volumes))
    config = EnvConfig(slippage_bps=0.0, initial_cash=1_000.0, max_drawdown_stop=stop, **fields)
    ruled, free = TradingVectorEnv(window, config), TradingVectorEnv(window, replace(config, max_drawdown_stop=None))
    marks, closed_at = [1_000.0], None
    for t in range(num - 1):
        fell = bool(marks[-1] <= max(marks) * (1.0 - stop)) or closed_at is not None
        mask = ruled.accounts.action_mask()[0]
        assert (mask.tolist() == ONLY_HOLD) == fell
        flat = ruled.accounts.shares[0] == 0.0
        action = np.array([rng.choice(np.flatnonzero(mask))])
        *_, terminated, _, info = ruled.step(action)
        if not fell:
            *_, other = free.step(action)
            assert info["equity"].tolist() == other["equity"].tolist()
        else:
            closed_at = t if closed_at is None else closed_at
            if fields["max_participation"] is None and t > closed_at:
                assert flat
            if flat:
                interest = (1.0 + fields["cash_rate"]) ** float(window.years[0, t + 1])
                assert info["equity"][0] == pytest.approx(marks[-1] * interest, rel=1e-12)
                assert info["traded_value"][0] == 0.0
        if terminated[0]:
            break
        marks.append(float(info["equity"][0]))


def test_a_portfolio_is_closed_as_a_whole(make_window: MakeWindow) -> None:
    # 9,500 of A and 500 of B at 10; 190,000 + 5,000 at the second mark, 100,000 at the third, which is more than 30 %
    # below; at the next open 9,500 x 8 + 500 x 10 are all cash, whatever is asked for; the other account buys then
    window = make_window("next_open", A=([10, 10, 10, 10, 8, 9], [10, 10, 20, 10, 8, 9]), B=[10, 10, 10, 10, 10, 20])
    config = EnvConfig(cost_bps=0, slippage_bps=0, max_drawdown_stop=0.3)
    env = PortfolioVectorEnv(window, config, PortfolioConfig(threshold=0.9), 2)
    env.reset()
    asked = np.array([[0.95, 0.05], [0.0, 0.0]])
    env.step(asked)
    *_, info = env.step(None)
    assert info["equity"].tolist() == [195_000.0, 100_000.0]
    *_, info = env.step(None)
    assert (info["equity"][0], env.stopped.tolist()) == (100_000.0, [True, False])
    rewards, _, _, info = env.step(asked[::-1])
    assert info["equity"][0] == pytest.approx(9_500 * 8 + 5_000)
    assert info["traded_value"][0] == pytest.approx(9_500 * 8 + 5_000)
    assert info["held"][0].tolist() == [0.0, 0.0]
    assert info["held"][1].tolist() == pytest.approx([0.95, 0.05])
    assert rewards[0] == pytest.approx(np.log(0.81))
    other = PortfolioVectorEnv(window, config, PortfolioConfig(threshold=0.9), 2)
    other.restore(env.snapshot())
    for each in (env, other):
        *_, info = each.step(asked)
        assert info["equity"][0] == pytest.approx(81_000.0)
        assert not each.stopped.any()  # begun anew
