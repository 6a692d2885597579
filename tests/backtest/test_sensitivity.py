"""Cost curve, lag and capacity on windows small enough to work by hand."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import polars as pl
import pytest

from flag_kedro.backtest.baselines import buy_and_hold
from flag_kedro.backtest.replay import replay
from flag_kedro.backtest.sensitivity import StrategySensitivity, capacity, sensitivity_of_targets
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow

CutPrices = Callable[..., TradingWindow]
FREE = EnvConfig(cost_bps=0.0, slippage_bps=0.0, initial_cash=1_000.0)
CLOSES = [10.0, 10.0, 20.0, 40.0]


def _sensitivity(window: TradingWindow, path: list[int], **options: object) -> StrategySensitivity:
    targets = {"rule": np.array([path])}
    return sensitivity_of_targets(window, FREE, targets, {"A": "XNYS"}, **options).symbols["A"]["rule"]


def test_cost_curve_charges_every_trade_of_the_path(cut_prices: CutPrices) -> None:
    # bought at 10, sold at 20: doubled, less one purchase and one sale
    window = cut_prices("next_close", A=(CLOSES, CLOSES))
    curve = _sensitivity(window, [1, 0, 0, 0], cost_bps=(0.0, 100.0)).cost_curve
    assert curve == pytest.approx([math.log(2.0), math.log(2.0 / 1.01 * 0.99)])


def test_lagged_path_trades_one_session_later(cut_prices: CutPrices) -> None:
    window = cut_prices("next_close", A=(CLOSES, CLOSES))
    assert _sensitivity(window, [1, 0, 0, 0]).lagged.cumulative_return == pytest.approx(math.log(2.0))  # 20 to 40
    assert _sensitivity(window, [0, 1, 0, 0]).lagged.cumulative_return == 0.0  # would buy at 40


def test_sharpe_of_the_lagged_path_by_hand(cut_prices: CutPrices) -> None:
    # returns 0, 0, ln 2: mean ln 2 / 3, std ln 2 / sqrt 3, annualised
    window = cut_prices("next_close", A=(CLOSES, CLOSES))
    assert _sensitivity(window, [1, 0, 0, 0]).lagged.sharpe_ratio == pytest.approx(math.sqrt(252) / math.sqrt(3))


def test_capacity_is_set_by_the_tightest_fill(cut_prices: CutPrices) -> None:
    window = replace(
        cut_prices("next_close", A=(CLOSES, CLOSES)), fill_volumes=np.array([[np.nan, 5_000.0, 900.0, 7.0]])
    )
    # 1,000 traded where 5,000 x 10 change hands, 2,000 where 900 x 20 do: 1 % of 18,000 / 2,000 x 1,000 = 90
    assert capacity(np.array([0.0, 1_000.0, 2_000.0, 0.0]), window, 0, 1_000.0, 0.01) == pytest.approx(90.0)


def test_capacity_is_unknown_without_trades_or_volume(cut_prices: CutPrices) -> None:
    window = cut_prices("next_close", A=(CLOSES, CLOSES))
    assert capacity(np.zeros(4), window, 0, 1_000.0, 0.01) is None
    assert capacity(np.array([0.0, 1_000.0, 0.0, 0.0]), window, 0, 1_000.0, 0.01) is None


def test_every_fill_of_an_account_of_that_size_stays_within_participation(cut_prices: CutPrices) -> None:
    volumes = np.array([[np.nan, 5_000.0, 900.0, 7_000.0]])
    window = replace(cut_prices("next_close", A=(CLOSES, CLOSES)), fill_volumes=volumes)
    traded = replay("rule", window, FREE, buy_and_hold).equity["traded_value"].to_numpy()
    size = capacity(traded, window, 0, 1_000.0, 0.01)
    assert size is not None
    capped = replace(FREE, initial_cash=size, max_participation=0.01)
    free = replace(capped, max_participation=None)
    assert replay("r", window, capped, buy_and_hold).equity.equals(replay("r", window, free, buy_and_hold).equity)
    larger = replace(capped, initial_cash=size * 1.01)
    shares = replay("r", window, larger, buy_and_hold).equity["traded_value"].to_numpy() / window.fill_prices[0]
    assert pl.Series(shares).fill_nan(0.0).max() == pytest.approx(50.0)  # 1 % of 5,000


def test_capacity_does_not_depend_on_a_cap_that_cuts_the_fills(cut_prices: CutPrices) -> None:
    volumes = np.array([[np.nan, 5_000.0, 900.0, 7_000.0]])
    window = replace(cut_prices("next_close", A=(CLOSES, CLOSES)), fill_volumes=volumes)
    path = {"rule": np.array([[1, 0, 0, 0]])}
    sensitivities = [
        sensitivity_of_targets(window, replace(FREE, max_participation=cap, initial_cash=cash), path, {"A": "XNYS"})
        for cap, cash in ((None, 1_000.0), (0.01, 1_000.0), (0.01, 1e6))
    ]
    capacities = [each.symbols["A"]["rule"].capacity for each in sensitivities]
    assert capacities == pytest.approx([90.0] * 3)  # sold: 1 % of 900 x 20 where 2,000 for 1,000 are sold


def test_content_of_the_file_is_by_symbol_and_strategy(cut_prices: CutPrices) -> None:
    window = cut_prices("next_close", A=(CLOSES, CLOSES))
    flat = {"rule": np.zeros((1, 4), dtype=np.int64)}
    sensitivity = sensitivity_of_targets(window, FREE, flat, {"A": "XNYS"}, (0.0, 5.0))
    assert json.dumps(asdict(sensitivity)) == (
        '{"cost_bps": [0.0, 5.0], "participation": 0.01, "symbols": {"A": {"rule": {"cost_curve": [0.0, 0.0], '
        '"lagged": {"cumulative_return": 0.0, "sharpe_ratio": null}, "capacity": null}}}}'
    )
