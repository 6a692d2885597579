"""Paths of positions, replayed: by hand, against the replay of decisions, and shifted in time."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flag_kedro.backtest.counterfactual import (
    Shifts,
    cumulative_log_returns,
    replay_targets,
    shift_in_time,
    shift_together,
)
from flag_kedro.backtest.pooled import pool_log_returns
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
    shifts = shift_in_time(window, _free(), {"best": best, "worst": worst})["A"]
    assert {name: shift.percentile for name, shift in shifts.items()} == {"best": 1.0, "worst": 0.0}
    assert {name: shift.p_value for name, shift in shifts.items()} == {"best": 1 / 6, "worst": 1.0}


def test_shifts_that_earn_the_same_count_half(cut_prices: CutPrices) -> None:
    window = cut_prices("next_close", A=([10.0] * 5, [10.0] * 5))  # nothing moves, nothing costs
    shifts = shift_in_time(window, _free(), {"any": np.array([[1, 0, 0, 1, 0]])})["A"]["any"]
    assert (shifts.percentile, shifts.p_value) == (0.5, 1.0)


@pytest.mark.parametrize("held", [0, 1])
def test_constant_path_has_no_percentile(held: int, cut_prices: CutPrices) -> None:
    window = cut_prices("next_close", A=([10.0] * 5, [10, 11, 12, 13, 14]))
    shifts = shift_in_time(window, _free(), {"constant": np.full((1, 5), held)})["A"]["constant"]
    assert (shifts.percentile, shifts.p_value) == (None, None)


@pytest.mark.parametrize("cost_bps", [0.0, 100.0])
def test_whoever_times_at_random_is_among_the_best_shifts_as_often_as_the_level_says(
    cost_bps: float, cut_prices: CutPrices
) -> None:
    """Also where trades cost: each shift makes the trades of the path itself, the seam charges none of them."""
    rng = np.random.default_rng(0)
    closes = 100.0 * np.exp(np.cumsum(0.01 * rng.standard_normal(81)))
    window = cut_prices("next_close", A=(closes.tolist(), closes.tolist()))
    paths = {str(k): np.cumsum(rng.random((1, 81)) < 0.1, axis=1) % 2 for k in range(400)}
    shifts = shift_in_time(window, _free(cost_bps=cost_bps), paths)["A"].values()
    p_values = np.array([shift.p_value for shift in shifts if shift.p_value is not None])
    assert len(p_values) == 400
    for level in (0.05, 0.25, 0.5):
        assert (p_values <= level).mean() == pytest.approx(level, abs=3 * np.sqrt(level * (1 - level) / 400))


def test_all_symbols_are_shifted_together(cut_prices: CutPrices) -> None:
    closes = [10.0, 10.0, 20.0, 20.0, 10.0, 10.0, 10.0]
    falling = closes[::-1]
    window = cut_prices("next_close", A=(closes, closes), B=(falling, falling))
    paths = np.zeros((2, 7), dtype=np.int64)
    paths[0, 0] = paths[1, 1] = 1  # both bought before their doubling, a session apart
    alone = shift_in_time(window, _free(), {"p": paths})
    assert alone["A"]["p"].percentile == alone["B"]["p"].percentile == 1.0
    # shifts k of A earn ln 2, 0, -ln 2, 0, 0, 0 and of B ln 2, 0, -ln 2, 0, 0, 0 in turn: all worse together
    both = shift_together([alone["A"]["p"], alone["B"]["p"]], pool_log_returns)
    assert (both.percentile, both.p_value) == (1.0, 1 / 6)
    assert np.exp(both.log_returns) == pytest.approx([2.0, 1.0, 0.5, 1.0, 1.0, 1.0])
    paths[1] = np.roll(paths[1], 2)  # B now loses where A wins: the sum of both log returns is 0
    apart = [rows["p"] for rows in shift_in_time(window, _free(), {"p": paths}).values()]
    assert shift_together(apart, lambda rows: rows.sum(axis=0)).percentile == pytest.approx(0.5)


def test_symbols_of_fewer_sessions_go_around_once_too() -> None:
    long, short = Shifts(np.arange(6.0), True), Shifts(np.array([10.0, 20.0, 30.0]), False)
    both = shift_together([long, short], lambda rows: rows.sum(axis=0))
    assert both.log_returns.tolist() == [10.0, 11.0, 22.0, 23.0, 34.0, 35.0]
    assert both.changes
    assert shift_together([short], lambda rows: rows[0]).p_value is None
