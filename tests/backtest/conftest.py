"""What replays of hand-worked markets share."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import date, timedelta
from math import log
from typing import Any

import polars as pl
import pytest

from flag_kedro.backtest.replay import DECISIONS, EQUITY
from flag_kedro.backtest.scores import describe_convention
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow

FIRST = date(2024, 1, 1)


@pytest.fixture(scope="session")
def cut_prices(make_window: Callable[..., TradingWindow]) -> Callable[..., TradingWindow]:
    """A window of symbols given as `NAME=(opens, closes)`, each with a length of its own."""
    return make_window


@pytest.fixture
def config() -> EnvConfig:
    """A cost of a quarter of each trade, so that hand-worked numbers stay short."""
    return EnvConfig(cost_bps=2_000.0, slippage_bps=500.0, initial_cash=1_000.0)


@pytest.fixture(scope="session")
def six_sessions() -> tuple[pl.DataFrame, pl.DataFrame, dict[str, pl.DataFrame]]:
    """Decisions, equity and market states of two symbols over 2024-01-01 to 06; fills at the next open.

    On A flag_trader is long from the open of the 2nd, short from that of the 4th, long from that of the 6th;
    on B, which has no volume, long from the open of the 2nd to that of the 4th. Equity is made up.
    """
    days = [FIRST + timedelta(days=t) for t in range(6)]
    before = {"A": [0, 1, 1, -1, -1, 1], "B": [0, 1, 1, 0, 0, 0]}
    actions = {"A": ["buy", "hold", "sell", "hold", "buy", "hold"], "B": ["buy", "hold", "sell", *["hold"] * 3]}
    paths = {
        "flag_trader": [100.0, 120.0, 90.0, 99.0, 60.0, 66.0],
        "buy_and_hold": [100.0, 80.0, 90.0, 120.0, 160.0, 200.0],
    }
    chances = {"buy": [0.1, 0.2, 0.7], "hold": [0.25, 0.5, 0.25], "sell": [0.9, 0.1, 0.0]}
    decisions, equity, states = [], [], {}
    for symbol in before:
        policy, held = (actions[symbol], before[symbol]), (["buy", *["hold"] * 5], [0, 1, 1, 1, 1, 1])
        for strategy, (taken, position) in (("flag_trader", policy), ("buy_and_hold", held)):
            decisions += [
                (
                    strategy,
                    symbol,
                    days[t],
                    taken[t],
                    *(chances[taken[t]] if strategy == "flag_trader" else [None] * 3),
                    None,
                    position[t],
                )
                for t in range(6)
            ]
            equity += [
                (
                    strategy,
                    symbol,
                    days[t],
                    marked,
                    position[t],
                    log(marked / paths[strategy][t - 1]) if t else None,
                    0.0,
                    float(abs(position[t])),
                )
                for t, marked in enumerate(paths[strategy])
            ]
        states[symbol] = pl.DataFrame(
            {
                "symbol": [symbol] * 6,
                "session": days,
                "news_text": ["- quiet", "none", "- first\n- second", "none", "none", "none"],
                "open_price": [10.0, 9.0, 8.0, 10.0, 14.0, 18.0],
                "mark_price": [10.0, 8.0, 9.0, 12.0, 16.0, 20.0],
                "volume": pl.Series([1e6 if symbol == "A" else None] * 6, dtype=pl.Float64),
            }
        )
    return (
        pl.DataFrame(decisions, schema=DECISIONS, orient="row"),
        pl.DataFrame(equity, schema=EQUITY, orient="row"),
        states,
    )


@pytest.fixture(scope="session")
def account_convention() -> dict[str, Any]:
    """The convention that goes with `six_sessions`."""
    calendars = {"A": "XNYS", "B": "XNYS"}
    env = EnvConfig(fill="next_open", cost_bps=20.0, slippage_bps=5.0)
    return asdict(describe_convention("account", ("2024-01-01", "2024-01-06"), env, calendars))
