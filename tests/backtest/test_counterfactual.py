"""Paths of positions, replayed: by hand, against the replay of decisions, and shifted in time."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flag_kedro.backtest.counterfactual import (
    cumulative_log_returns,
    pooled_shift_percentile,
    replay_targets,
    shift_percentiles,
)
from flag_kedro.backtest.replay import replay
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.states import Decisions, States
from flag_kedro.env.window import TradingWindow

CutPrices = Callable[..., TradingWindow]
PRICES = st.lists(st.integers(20, 200), min_size=2, max_size=8)


def _free(**fields: object) -> EnvConfig:
    return EnvConfig(**({"cost_bps": 0.0, "slippage_bps": 0.0, "initial_cash": 1_000.0} | fields))


def test_path_of_positions_earns_as_worked_by_hand(cut_prices: CutPrices, config: EnvConfig) -> None:
    # 25 % cost: 1,000 buys 100 at 8; sold at 12 for 900; the rest of the window flat
    window = cut_prices("next_open", A=([7, 8, 10, 12, 16], [10, 9, 12, 11, 15]))
    paths = replay_targets(window, config, np.array([[[1, 1, 0, 0, 0]]]))
    equity = paths.equity
    assert paths.traded_value.tolist() == [[[0.0, 800.0, 0.0, 1_200.0, 0.0]]]
    assert equity.tolist() == [[[1_000.0, 900.0, 1_200.0, 900.0, 900.0]]]
    assert cumulative_log_returns(equity, window)[0, 0] == pytest.approx(np.log(0.9))


def test_shorter_symbol_ends_at_its_own_last_session(cut_prices: CutPrices) -> None:
    window = cut_prices("next_close", A=([1] * 4, [10, 10, 20, 40]), B=([1] * 3, [10, 10, 30]))
    equity = replay_targets(window, _free(), np.ones((2, 1, 4), dtype=np.int64)).equity
    assert np.isnan(equity[1, 0]).tolist() == [False, False, False, True]
    assert np.exp(cumulative_log_returns(equity, window))[:, 0] == pytest.approx([4.0, 3.0])


@given(
    closes=st.lists(PRICES, min_size=1, max_size=3),
    seed=st.integers(0, 10_000),
    fill=st.sampled_from(["next_open", "next_close", "same_close"]),
    positions=st.sampled_from(["long_flat", "long_short"]),
)
def test_targets_of_a_replayed_strategy_give_its_equity_back(
    closes: list[list[int]], seed: int, fill: str, positions: str, cut_prices: CutPrices
) -> None:
    rng = np.random.default_rng(seed)
    opens = [rng.integers(20, 200, len(path)).tolist() for path in closes]
    market = {"ABC"[k]: (opens[k], path) for k, path in enumerate(closes)}
    window = cut_prices(fill, positions=positions, **market)
    config = EnvConfig(positions=positions, cost_bps=100.0)
    asked = np.zeros((len(closes), int(window.num_sessions.max())), dtype=np.int64)
    position, step = np.zeros(len(closes), dtype=np.int64), 0

    def at_random(states: States) -> Decisions:
        nonlocal step
        actions = np.argmax(np.where(states.action_mask, rng.random((len(states), 3)), -1.0), axis=1)
        lowest = 0 if positions == "long_flat" else -1
        position[:] = np.where(actions == 2, 1, np.where(actions == 0, lowest, position))
        asked[:, step] = position
        step += 1
        return Decisions(actions)

    played = replay("random", window, config, at_random)
    equity = replay_targets(window, config, asked[:, None, :]).equity
    for s, symbol in enumerate(window.symbols):
        replayed = played.equity.filter(symbol=symbol)["equity"].to_numpy()
        assert equity[s, 0, : len(replayed)].tolist() == replayed.tolist()


def test_best_timing_of_a_path_lies_at_the_top_of_its_shifts_and_the_worst_at_the_bottom(cut_prices: CutPrices) -> None:
    closes = [10.0, 10.0, 20.0, 20.0, 10.0, 10.0, 10.0]  # bought at the close of session 1, one doubling follows
    window = cut_prices("next_close", A=(closes, closes))
    best, worst = np.zeros((1, 7), dtype=np.int64), np.zeros((1, 7), dtype=np.int64)
    best[0, 0], worst[0, 2] = 1, 1  # long over the rise, long over the fall
    percentiles = shift_percentiles(window, _free(), {"best": best, "worst": worst})
    assert percentiles == {"A": {"best": 1.0, "worst": 0.0}}


def test_shifts_that_earn_the_same_count_half(cut_prices: CutPrices) -> None:
    window = cut_prices("next_close", A=([10.0] * 5, [10.0] * 5))  # nothing moves, nothing costs
    assert shift_percentiles(window, _free(), {"any": np.array([[1, 0, 0, 1, 0]])})["A"]["any"] == 0.5


@pytest.mark.parametrize("held", [0, 1])
def test_constant_path_has_no_percentile(held: int, cut_prices: CutPrices) -> None:
    window = cut_prices("next_close", A=([10.0] * 5, [10, 11, 12, 13, 14]))
    assert shift_percentiles(window, _free(), {"constant": np.full((1, 5), held)})["A"]["constant"] is None


def test_percentile_of_paths_without_skill_is_spread_evenly(cut_prices: CutPrices) -> None:
    rng = np.random.default_rng(0)
    closes = 100.0 * np.exp(np.cumsum(0.01 * rng.standard_normal(120)))
    window = cut_prices("next_close", A=(closes.tolist(), closes.tolist()))
    paths = {str(k): np.cumsum(rng.random((1, 120)) < 0.1, axis=1) % 2 for k in range(60)}
    percentiles = [value for value in shift_percentiles(window, _free(), paths)["A"].values() if value is not None]
    assert 0.35 < np.mean(percentiles) < 0.65
    assert min(percentiles) < 0.15
    assert max(percentiles) > 0.85


def test_pooled_percentile_shifts_all_symbols_together(cut_prices: CutPrices) -> None:
    closes = [10.0, 10.0, 20.0, 20.0, 10.0, 10.0, 10.0]
    falling = closes[::-1]
    window = cut_prices("next_close", A=(closes, closes), B=(falling, falling))
    paths = np.zeros((2, 7), dtype=np.int64)
    paths[0, 0] = paths[1, 1] = 1  # both bought before their doubling, a session apart
    assert pooled_shift_percentile(window, _free(), paths) == 1.0
    # shifts k of A earn ln 2, 0, -ln 2, 0, 0, 0 and of B ln 2, 0, -ln 2, 0, 0, 0 in turn: all worse together
    alone = shift_percentiles(window, _free(), {"p": paths})
    assert alone["A"]["p"] == alone["B"]["p"] == 1.0
    paths[1] = np.roll(paths[1], 2)  # B now loses where A wins: the sum of both is 0
    assert pooled_shift_percentile(window, _free(), paths) == pytest.approx(0.5)


def test_pooled_percentile_of_constant_paths_is_none_and_unequal_lengths_are_refused(cut_prices: CutPrices) -> None:
    window = cut_prices("next_close", A=([10.0] * 5, [10.0] * 5), B=([10.0] * 5, [10.0] * 5))
    assert pooled_shift_percentile(window, _free(), np.array([[1] * 5, [0] * 5])) is None
    unequal = cut_prices("next_close", A=([10.0] * 5, [10.0] * 5), B=([10.0] * 4, [10.0] * 4))
    with pytest.raises(ValueError, match="as many sessions"):
        pooled_shift_percentile(unequal, _free(), np.ones((2, 5), dtype=np.int64))
