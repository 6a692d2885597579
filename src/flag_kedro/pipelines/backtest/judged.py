"""The test window as every node of the backtest sees it."""

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from flag_kedro.backtest.evaluation import EvaluationWindow
from flag_kedro.data.config import DataConfig
from flag_kedro.data.market import symbol_calendar
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import cut_window, effective_fill
from flag_kedro.pipelines.facts import windows_of


def evaluation_window(market_states: Mapping[str, pl.DataFrame], data: DataConfig, env: EnvConfig) -> EvaluationWindow:
    """Cut the test window."""
    test = windows_of(market_states, data).test
    actual = replace(env, fill=effective_fill(env.fill, market_states))
    return EvaluationWindow(
        window=cut_window(market_states, test, actual.fill, positions=env.positions),
        env=actual,
        dates=(test[0].isoformat(), test[1].isoformat()),
        calendars={symbol: symbol_calendar(symbol, data) for symbol in market_states},
    )
