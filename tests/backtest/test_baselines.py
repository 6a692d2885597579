from collections.abc import Callable

import numpy as np
import pytest

from flag_kedro.backtest.baselines import buy_and_hold, flat, random_legal
from flag_kedro.backtest.replay import replay
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.prompt import States
from flag_kedro.env.window import TradingWindow

SELL, HOLD, BUY = 0, 1, 2
FLAT, LONG = [False, True, True], [True, True, False]
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


def test_random_actions_are_legal_and_even_among_the_legal() -> None:
    symbols = tuple(f"S{number}" for number in range(8_000))
    actions = random_legal(0, symbols)(_states(*[FLAT] * 4_000, *[LONG] * 4_000)).actions
    when_flat, when_long = actions[:4_000], actions[4_000:]
    assert set(when_flat.tolist()) == {HOLD, BUY}
    assert set(when_long.tolist()) == {SELL, HOLD}
    # half of 4,000 give or take five standard deviations of sqrt(4,000) / 2 = 32
    assert abs(int((when_flat == BUY).sum()) - 2_000) < 160
    assert abs(int((when_long == SELL).sum()) - 2_000) < 160


def test_random_decisions_repeat_with_the_seed_and_differ_without(cut_prices: CutPrices, config: EnvConfig) -> None:
    window = cut_prices("next_close", A=(PRICES * 5, PRICES * 5))
    first, again, other = (replay("random", window, config, random_legal(seed, ("A",))) for seed in (1, 1, 2))
    assert first.decisions.equals(again.decisions)
    assert first.equity.equals(again.equity)
    assert first.decisions["action"].to_list() != other.decisions["action"].to_list()


@pytest.mark.parametrize("rule", [buy_and_hold, flat, random_legal(0, ("A", "B"))])
def test_baselines_claim_neither_probabilities_nor_values(rule: Callable[[States], object]) -> None:
    decided = rule(_states(FLAT, LONG))
    assert decided.probabilities is None
    assert decided.values is None


def test_random_decisions_of_a_symbol_do_not_depend_on_the_others(cut_prices: CutPrices, config: EnvConfig) -> None:
    alone = cut_prices("next_close", B=(PRICES * 5, PRICES * 5))
    beside = cut_prices("next_close", A=(PRICES * 5, PRICES * 5), B=(PRICES * 5, PRICES * 5))
    first, second = (replay("random", window, config, random_legal(0, window.symbols)) for window in (alone, beside))
    both = second.decisions.filter(second.decisions["symbol"] == "B")
    assert first.decisions["action"].to_list() == both["action"].to_list()
