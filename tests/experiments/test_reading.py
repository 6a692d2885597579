"""What positions took of headlines, worked by hand on one symbol and seven sessions.

Effects: 1 % in the session after a headline, 0.5 % in the one after that (horizon 2, decay 0.5); no cost.

    session          0       1       2       3       4       5       6
    usable          +1       0      -1       0      +1       0       0
    level            1       0       2       3       4       0       0
    next effect     1 %    0.5 %    -1 %  -0.5 %    1 %    0.5 %     -

The optimal policy is long over 0, 1, 4 and 5: 1.5 % (plain) and 1.5 % (conflicting), and nothing of the reversed one.
"""

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow
from flag_kedro.experiments.oracle import ask_oracle, expect_log_return
from flag_kedro.experiments.reading import Reading, measure_reading

FREE = EnvConfig(cost_bps=0.0, slippage_bps=0.0)
RULE = SimulatedConfig(market="easy", signal=0.01, horizon=2, decay=0.5, drift=0.0)
USABLE, LEVEL = [1, 0, -1, 0, 1, 0, 0], [1, 0, 2, 3, 4, 0, 0]
PRICES = ([10] * 7, [10] * 7)
MakeWindow = Callable[..., TradingWindow]


@pytest.fixture
def window(make_window: MakeWindow) -> TradingWindow:
    return make_window("next_open", A=PRICES)


@pytest.fixture
def truth(window: TradingWindow) -> pl.DataFrame:
    earlier = [window.sessions[0][0] - timedelta(days=age) for age in (2, 1)]
    sessions = [*earlier, *window.sessions[0]]
    return pl.DataFrame(
        {
            "symbol": ["A"] * 9,
            "session": sessions,
            "usable": [0, 0, *USABLE],
            "level": [0, 0, *LEVEL],
            "before_close": [False] * 9,
        },
        schema_overrides={"session": pl.Date},
    )


def reading(window: TradingWindow, truth: pl.DataFrame, positions: list[int], env: EnvConfig = FREE) -> Reading:
    return measure_reading(np.array([positions]), 0.015, window, env, truth, RULE)


def test_optimal_positions_take_everything(window: TradingWindow, truth: pl.DataFrame):
    found = reading(window, truth, [1, 1, 0, 0, 1, 1, 1])
    assert found.share == pytest.approx(1.0)
    assert found.earned_share == pytest.approx(0.5)  # 1.5 % of 3 %
    assert found.by_level == {"plain": 1.0, "reversed": None, "conflicting": 1.0}


def test_what_is_missed_and_what_is_misread_count_by_level(window: TradingWindow, truth: pl.DataFrame):
    found = reading(window, truth, [0, 1, 1, 0, 1, 0, 0])
    assert found.share == pytest.approx((0.5 - 1.0 + 1.0) / 3)
    assert found.by_level == {
        "plain": pytest.approx(0.5 / 1.5),
        "reversed": None,
        "conflicting": pytest.approx(1 / 1.5),
    }


def test_trades_after_another_companys_headline_are_told(window: TradingWindow, truth: pl.DataFrame):
    assert reading(window, truth, [1, 1, 0, 0, 1, 1, 1]).trades_after_rivals == 0.0
    assert reading(window, truth, [1, 1, 0, 1, 1, 1, 1]).trades_after_rivals == 1.0


def test_last_decision_fills_no_more(window: TradingWindow, truth: pl.DataFrame):
    assert reading(window, truth, [0, 0, 0, 0, 0, 0, 1]).share == 0.0


def test_costs_are_paid_on_both_sides(window: TradingWindow, truth: pl.DataFrame):
    env = EnvConfig(cost_bps=10.0, slippage_bps=0.0)
    expected = expect_log_return(np.array([[1, 0, 0, 0, 0, 0, 0]]), window, env, truth, RULE)
    assert expected.tolist() == pytest.approx([0.01 - np.log(1.001) + np.log(0.999)])


def test_expectation_of_the_optimal_positions_is_the_optimal_policys_own(window: TradingWindow, truth: pl.DataFrame):
    oracle = ask_oracle(window, FREE, truth, RULE)
    assert oracle.expected_log_return.sum() == pytest.approx(0.03)


def test_headlines_from_which_nothing_is_expected_are_refused(window: TradingWindow, truth: pl.DataFrame):
    silent = truth.with_columns(usable=pl.lit(0, dtype=pl.Int64))
    with pytest.raises(ValueError, match="expects nothing"):
        reading(window, silent, [0] * 7)


def test_first_session_is_a_date(window: TradingWindow):
    assert isinstance(window.sessions[0][0], date)
