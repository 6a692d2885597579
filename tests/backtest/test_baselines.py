from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flag_kedro.backtest.baselines import buy_and_hold, flat, sticky_random
from flag_kedro.backtest.replay import replay
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.states import States
from flag_kedro.env.window import TradingWindow

SELL, HOLD, BUY = 0, 1, 2
FLAT, LONG = [False, True, True], [True, True, False]
BETWEEN = [True, True, True]
PRICES = [10, 8, 9, 12, 16, 20]

CutPrices = Callable[..., TradingWindow]


def _states(*masks: list[bool]) -> States:
    return States([""] * len(masks), [""] * len(masks), np.array(masks))


def test_buy_and_hold_buys_when_flat_and_holds_when_long() -> None:
    assert buy_and_hold(_states(FLAT, LONG, FLAT)).actions.tolist() == [BUY, HOLD, BUY]


def test_buy_and_hold_buys_once_in_each_symbol(cut_prices: CutPrices, config: EnvConfig) -> None:
    window = cut_prices("next_close", A=(PRICES, PRICES), B=(PRICES[:4], PRICES[:4]))
    decisions = replay("buy_and_hold", window, config, buy_and_hold).decisions
    assert decisions["action"].to_list() == ["buy", *["hold"] * 5, "buy", *["hold"] * 3]


def test_flat_never_trades(cut_prices: CutPrices, config: EnvConfig) -> None:
    played = replay("flat", cut_prices("next_open", A=(PRICES, PRICES)), config, flat)
    assert played.decisions["action"].unique().to_list() == ["hold"]
    assert played.equity["equity"].to_list() == [1_000.0] * 6
    assert played.equity["traded_value"].to_list() == [0.0] * 6
    assert flat(_states(FLAT, LONG)).actions.tolist() == [HOLD, HOLD]


@given(seed=st.integers(0, 2**32 - 1), masks=st.lists(st.sampled_from([FLAT, LONG, BETWEEN]), min_size=1, max_size=9))
def test_random_actions_are_legal(seed: int, masks: list[list[bool]]) -> None:
    rule = sticky_random(seed, tuple(map(str, range(len(masks)))), switch_probability=1.0)
    for _ in range(5):
        actions = rule(_states(*masks)).actions
        assert all(mask[action] for mask, action in zip(masks, actions, strict=True))
        assert HOLD not in actions  # it switches in every session


def test_random_trades_in_a_tenth_of_sessions_so_that_positions_last_ten() -> None:
    symbols = tuple(map(str, range(400)))
    rule, is_long = sticky_random(0, symbols), np.zeros(400, dtype=bool)
    trades = 0
    for _ in range(250):
        mask = np.stack([is_long, np.ones(400, dtype=bool), ~is_long], axis=1)
        traded = rule(States([""] * 400, [""] * 400, mask)).actions != HOLD
        is_long ^= traded
        trades += int(traded.sum())
    # 10,000 of 100,000 give or take five standard deviations of sqrt(100,000 x 0.1 x 0.9) = 95
    assert abs(trades - 10_000) < 475


def test_random_side_is_even_where_both_sides_are_legal() -> None:
    rule = sticky_random(0, tuple(map(str, range(10_000))), switch_probability=1.0)
    actions = rule(_states(*[BETWEEN] * 10_000)).actions
    assert abs(int((actions == BUY).sum()) - 5_000) < 250  # five standard deviations of 50


def test_random_decisions_repeat_with_the_seed_and_differ_without(cut_prices: CutPrices, config: EnvConfig) -> None:
    window = cut_prices("next_close", A=(PRICES * 5, PRICES * 5))
    first, again, other = (replay("random", window, config, sticky_random(seed, ("A",))) for seed in (1, 1, 2))
    assert first.decisions.equals(again.decisions)
    assert first.equity.equals(again.equity)
    assert first.decisions["action"].to_list() != other.decisions["action"].to_list()


@pytest.mark.parametrize("rule", [buy_and_hold, flat, sticky_random(0, ("A", "B"))])
def test_baselines_claim_neither_probabilities_nor_values(rule: Callable[[States], object]) -> None:
    decided = rule(_states(FLAT, LONG))
    assert decided.probabilities is None
    assert decided.values is None


def test_random_decisions_of_a_symbol_do_not_depend_on_the_others(cut_prices: CutPrices, config: EnvConfig) -> None:
    alone = cut_prices("next_close", B=(PRICES * 5, PRICES * 5))
    beside = cut_prices("next_close", A=(PRICES * 5, PRICES * 5), B=(PRICES * 5, PRICES * 5))
    first, second = (replay("random", window, config, sticky_random(0, window.symbols)) for window in (alone, beside))
    both = second.decisions.filter(second.decisions["symbol"] == "B")
    assert first.decisions["action"].to_list() == both["action"].to_list()
