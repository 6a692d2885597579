"""The informed oracle asks for what the rule and the headlines known at each decision say, and no more."""

from collections.abc import Callable
from datetime import date, timedelta

import polars as pl
import pytest

from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow
from flag_kedro.experiments.oracle import oracle_targets

DAYS = [date(2024, 1, 1) + timedelta(days=day) for day in range(5)]
TRUTH = pl.DataFrame(
    {
        "symbol": "A",
        "session": DAYS,
        "effect": [9.0] * 5,  # of the session itself: of no use to a decision at its close
        "next_effect": [0.006, 0.001, 0.0, -0.006, 0.002],
        "second_effect": [0.0, 0.006, -0.006, 0.0011, 0.001],
    }
)


@pytest.mark.parametrize(
    ("fill", "expected"),
    [("next_open", [1, 0, 0, 0, 1]), ("same_close", [1, 0, 0, 0, 1]), ("next_close", [0, 1, 0, 1, 0])],
)
def test_long_where_what_the_fill_can_earn_exceeds_the_cost(
    make_window: Callable[..., TradingWindow], fill: str, expected: list[int]
):
    window = make_window(fill, A=[10.0] * 5)
    assert oracle_targets(window, EnvConfig(cost_bps=5, slippage_bps=5), TRUTH).tolist() == [expected]
