"""The informed oracle: what the planted rule is worth to someone who knows it, but not the future.

Shape legend: S = symbols, T = sessions of the longest symbol.
"""

import numpy as np
import polars as pl

from flag_kedro.env.account import Ints
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow

EARNED = {"next_open": "next_effect", "same_close": "next_effect", "next_close": "second_effect"}
"""The column of `SimulatedMarket.truth` that a decision can still earn, by fill."""


def oracle_targets(window: TradingWindow, config: EnvConfig, truth: pl.DataFrame) -> Ints:
    """Position that each decision asks for, [S, T]: long where the expected return of its session exceeds the cost.

    It knows the rule and the headlines knowable at each decision, never tomorrow's. The expected
    return is that of the open-to-close log return that the decision's fill can earn; the cost is that of one trade.

    Args:
        window: sessions to trade.
        config: its cost.
        truth: `data.simulated.SimulatedMarket.truth`, log returns.
    """
    expected_return = {
        (symbol, day): effect
        for symbol, day, effect in truth.select("symbol", "session", EARNED[window.fill]).iter_rows()
    }
    targets = np.zeros(window.mark_prices.shape, dtype=np.int64)
    for s, symbol in enumerate(window.symbols):
        for t, day in enumerate(window.sessions[s]):
            targets[s, t] = int(expected_return[symbol, day] > config.cost)
    return targets
