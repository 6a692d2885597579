"""How a result depends on what one cannot know beforehand: costs, delay and size.

Shape legend: S = symbols, T = sessions of the longest symbol, C = strategies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from flag_kedro.backtest.counterfactual import cumulative_log_returns, replay_targets
from flag_kedro.backtest.metrics import sharpe_ratio
from flag_kedro.backtest.scores import days_per_year
from flag_kedro.env.account import Floats, Ints
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow

COST_BPS = (0.0, 2.0, 5.0, 10.0, 20.0, 30.0, 50.0)
PARTICIPATION = 0.01
"""Share of a session's volume that capacity allows a fill."""


def sensitivity_of_targets(
    window: TradingWindow,
    config: EnvConfig,
    targets: Mapping[str, Ints],
    calendars: Mapping[str, str],
    cost_bps: Sequence[float] = COST_BPS,
    participation: float = PARTICIPATION,
) -> dict[str, Any]:
    """Cost curve, one-session lag and capacity of every strategy on every symbol.

    The positions are those of the backtest; nothing is decided anew at other costs.

    Args:
        window: sessions traded.
        config: the backtest's fills and costs.
        targets: position that each decision of a strategy asks for, [S, T] by strategy.
        calendars: exchange calendar of each symbol.
        cost_bps: total costs of a trade to try, in basis points.
        participation: see `capacity`.

    Returns:
        `cost_bps`, `participation`, and `symbols`: symbol -> strategy -> `cost_curve` (sum of log returns at
        each cost), `lagged` (`cumulative_return` and `sharpe_ratio` with every decision carried out one
        session later), `capacity` (money, None without volume or trades).
    """
    names = list(targets)
    paths = np.stack([targets[name] for name in names], axis=1)
    curves = np.stack(
        [
            cumulative_log_returns(
                replay_targets(window, replace(config, cost_bps=bps, slippage_bps=0.0), paths).equity, window
            )
            for bps in cost_bps
        ],
        axis=-1,
    )
    late = np.concatenate([np.zeros_like(paths[:, :, :1]), paths[:, :, :-1]], axis=2)
    lagged = replay_targets(window, config, late).equity
    uncapped = replay_targets(window, replace(config, max_participation=None), paths).traded_value
    results: dict[str, dict[str, Any]] = {}
    for s, symbol in enumerate(window.symbols):
        n = int(window.num_sessions[s])
        for c, name in enumerate(names):
            results.setdefault(symbol, {})[name] = {
                "cost_curve": curves[s, c].tolist(),
                "lagged": _score(lagged[s, c, :n], window.years[s, 1:n], config, days_per_year(calendars[symbol])),
                "capacity": capacity(uncapped[s, c, :n], window, s, config.initial_cash, participation),
            }
    return {"cost_bps": list(cost_bps), "participation": participation, "symbols": results}


def capacity(
    traded_value: Floats, window: TradingWindow, symbol: int, initial_cash: float, participation: float
) -> float | None:
    """Largest initial cash with which every fill stays within `participation` of its session's volume.

    Args:
        traded_value: money traded at each session by an account that began with `initial_cash`, [n].
        window: sessions traded, with the volumes.
        symbol: its place in the window.
        initial_cash: money.
        participation: share of the volume.

    Returns:
        Money; None without any trade, or without the volume of a session with a trade.
    """
    traded = np.flatnonzero(traded_value > 0.0)
    volume = window.fill_volumes[symbol, traded] * window.fill_prices[symbol, traded]
    if len(traded) == 0 or np.isnan(volume).any():
        return None
    return float(initial_cash * participation * np.min(volume / traded_value[traded]))


def _score(equity: Floats, years: Floats, config: EnvConfig, days: int) -> dict[str, float | None]:
    returns = np.diff(np.log(equity))
    ratio = float(sharpe_ratio(returns - np.log1p(config.cash_rate) * years, days))
    return {"cumulative_return": float(returns.sum()), "sharpe_ratio": None if np.isnan(ratio) else ratio}
