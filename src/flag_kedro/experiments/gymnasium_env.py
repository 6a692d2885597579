"""`gymnasium.make("flag_kedro/Trading-v0")`: one account of one symbol of the simulated market, for any agent.

`import flag_kedro` registers it.
"""

from dataclasses import asdict
from functools import partial
from typing import Any, Literal

import gymnasium as gym

from flag_kedro.data.config import DataConfig
from flag_kedro.data.headlines import COMPANIES
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.data.windows import resolve_windows
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.trading import IllegalActions, TradingEnv
from flag_kedro.env.window import cut_window
from flag_kedro.experiments.indicator_env import IndicatorEnv, indicator_table, standardise
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_state import build_market_states


def make_trading(
    *,
    symbol: str = "ALDR",
    span: Literal["train", "validation", "test"] = "train",
    observation: Literal["indicators", "prompt"] = "indicators",
    illegal: IllegalActions = "hold",
    simulated: SimulatedConfig | None = None,
    env: EnvConfig | None = None,
    seed: int = 0,
) -> gym.Env[Any, int]:
    """An environment on the simulated market.

    Args:
        symbol: of the market.
        span: the window to trade.
        observation: `indicators` are numbers, standardised on the training window, and the position (`IndicatorEnv`);
            `prompt` is what a language model reads, and the mask (`TradingEnv`).
        illegal: what a masked action does.
        simulated: the market; None is `laboratory`.
        env: costs and reward; None is the shipped job's.
        seed: of the market.

    Raises:
        ParameterError: for an unknown symbol.
    """
    config = EnvConfig() if env is None else env
    market = simulate_market((symbol,), SimulatedConfig() if simulated is None else simulated, seed)
    names = {symbol: (COMPANIES[symbol],)}
    states, _ = build_market_states(market.prices, market.news, names=names, **asdict(FeaturesConfig()))
    windows = resolve_windows(DataConfig(), states)
    cut = partial(cut_window, states, fill=config.fill, positions=config.positions, events=config.event_rule)
    train, chosen = cut(windows.train), getattr(windows, span)
    window = cut(chosen)
    if observation == "prompt":
        return TradingEnv(window, config, illegal)
    table, reference = (indicator_table(market.prices, each)[0] for each in (window, train))
    return IndicatorEnv(window, config, standardise(table, reference), illegal)
