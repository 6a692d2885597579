"""The oracle of portfolios plans with what is known, pays for its trades, expects what markets without noise pay."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from itertools import product

import numpy as np
import polars as pl
import pytest

from flag_kedro.backtest.portfolio_replay import replay_portfolio
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.env.config import EnvConfig, PortfolioConfig
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.experiments.portfolio_oracle import (
    AHEAD,
    GivenWeights,
    best_path_in_advance,
    corner_costs,
    corner_gains,
    corner_weights,
    expect_path,
    follow_plans,
)

MakeWindow = Callable[..., TradingWindow]
ENV = EnvConfig(cost_bps=5, slippage_bps=5)
ONCE = SimulatedConfig(market="easy", signal=0.006, horizon=1)


def truth(**usable: Sequence[int]) -> pl.DataFrame:
    days = [date(2024, 1, 1) + timedelta(t) for t in range(len(next(iter(usable.values()))))]
    return pl.concat(pl.DataFrame({"symbol": s, "session": days, "usable": signs}) for s, signs in usable.items())


def test_all_goes_where_news_is_good_and_to_cash_when_it_is_bad(make_window: MakeWindow):
    """0.6 % a session; changing from one symbol to the other trades twice, 0.2 %."""
    window = make_window("next_open", A=[10.0] * 6, B=[10.0] * 6)
    corners = corner_weights(2, 1.0, ENV)
    costs = corner_costs(corners, ENV)
    known = truth(A=[1, 0, 0, -1, 0, 0], B=[0, 1, 0, -1, 0, 0])
    gains = corner_gains(window, known, ONCE, corners)
    path = follow_plans(gains, costs, 1.0)
    assert corners[path].tolist()[:4] == [[1, 0], [0, 1], [0, 1], [0, 0]]
    assert expect_path(path, gains, costs) == pytest.approx(
        0.006 + np.log(0.999) + 0.006 + np.log(0.998) + np.log(0.999)
    )


def test_bad_news_is_sold_short_where_that_is_allowed(make_window: MakeWindow):
    both = EnvConfig(cost_bps=5, slippage_bps=5, positions="long_short")
    window = make_window("next_open", A=[10.0] * 4, B=[10.0] * 4)
    corners = corner_weights(2, 0.5, both)
    gains = corner_gains(window, truth(A=[0, 0, 0, 0], B=[-1, 0, 0, 0]), ONCE, corners)
    path = follow_plans(gains, corner_costs(corners, both), 1.0)
    assert corners[path].tolist()[0] == [0.0, -0.5]
    assert gains[0, 0, path[0]] == pytest.approx(np.log1p(-0.5 * np.expm1(-0.006)))


def test_effects_decay_and_end_ahead_as_they_do_later(make_window: MakeWindow):
    """What is expected k sessions ahead is what the decision k sessions later expects of the same headline."""
    rule = SimulatedConfig(market="easy", signal=0.008, horizon=3, decay=0.5)
    window = make_window("next_open", A=[10.0] * 6)
    gains = corner_gains(window, truth(A=[1, 0, 0, 0, 0, 0]), rule, corner_weights(1, 1.0, ENV))[:, :, 1]
    assert gains[0, :4] == pytest.approx([0.008, 0.004, 0.002, 0.0])
    assert gains[:4, 0] == pytest.approx([0.008, 0.004, 0.002, 0.0])
    assert gains[5].tolist() == [0.0] * AHEAD
    late = make_window("next_close", A=[10.0] * 6)
    later = corner_gains(late, truth(A=[1, 0, 0, 0, 0, 0]), rule, corner_weights(1, 1.0, ENV))[:, :, 1]
    assert later[0, :3] == pytest.approx([0.004, 0.002, 0.0])
    soon = corner_gains(late, truth(A=[0, 0, 0, 1, 1, 0]), rule, corner_weights(1, 1.0, ENV))[:, 0, 1]
    assert soon[3] == pytest.approx(0.004)
    assert soon[4] == 0.0  # bought at the last close


@pytest.mark.parametrize("seed", range(5))
def test_the_best_path_in_advance_is_the_best_of_all_and_no_plan_beats_it(seed: int):
    generator = np.random.default_rng(seed)
    gains, costs = 0.01 * generator.standard_normal((6, 3)), corner_costs(corner_weights(2, 1.0, ENV), ENV)
    gains[:, 0] = 0.0
    every = [
        sum(gains[t, path[t]] - costs[path[t - 1] if t else 0, path[t]] for t in range(6))
        for path in product(range(3), repeat=6)
    ]
    assert best_path_in_advance(gains, costs) == pytest.approx(max(every))
    known = np.zeros((7, AHEAD, 3))
    known[:6, 0] = gains  # nothing is known further ahead
    for factor in (0.5, 1.0, 2.0):
        path = follow_plans(known, costs, factor)
        assert expect_path(path, known, costs) <= max(every) + 1e-12


def test_a_market_without_noise_pays_what_is_expected(make_states: Callable[..., pl.DataFrame]):
    generator = np.random.default_rng(3)
    signs = {symbol: generator.integers(-1, 2, 60).tolist() for symbol in "ABC"}
    states = {}
    for symbol, row in signs.items():
        closes = 100.0 * np.exp(0.006 * np.cumsum([0, *row[:-1]]))
        states[symbol] = make_states(closes.tolist(), [100.0, *closes[:-1]])
    window = cut_window(states, (date(2024, 1, 1), date(2099, 1, 1)), "next_open")
    days = pl.concat([pl.DataFrame({"symbol": s, "session": window.sessions[0], "usable": signs[s]}) for s in signs])
    corners = corner_weights(3, 1.0, ENV)
    gains, costs = corner_gains(window, days, ONCE, corners), corner_costs(corners, ENV)
    path = follow_plans(gains, costs, 1.0)
    replayed = replay_portfolio("oracle", window, ENV, PortfolioConfig(), GivenWeights(corners[path]))
    assert replayed.equity["log_return"].sum() == pytest.approx(expect_path(path, gains, costs), abs=1e-4)
    assert expect_path(path, gains, costs) > 0.1
