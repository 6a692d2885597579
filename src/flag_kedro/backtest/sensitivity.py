"""How a result depends on what one cannot know beforehand: costs, delay and size.

Shape legend: S = symbols, T = sessions of the longest symbol, C = strategies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flag_kedro.backtest.counterfactual import cumulative_log_returns, replay_targets
from flag_kedro.backtest.metrics import sharpe_ratio
from flag_kedro.backtest.scores import days_per_year
from flag_kedro.env.account import RUIN_SHARE, Bools, Floats, Ints
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow

COST_BPS = (0.0, 2.0, 5.0, 10.0, 20.0, 30.0, 50.0)
PARTICIPATION = 0.01
"""Share of a session's volume that capacity allows a fill."""


@dataclass(frozen=True, kw_only=True)
class LaggedScores:
    """Scores with every decision carried out one session later; None for a ruined account, which lost everything."""

    cumulative_return: float | None
    sharpe_ratio: float | None
    """None as well where the path never moves."""


@dataclass(frozen=True, kw_only=True)
class StrategySensitivity:
    """How the result of one strategy on one symbol depends on costs, delay and size."""

    cost_curve: list[float | None]
    """Sum of log returns at each cost; None where the account is ruined."""
    lagged: LaggedScores
    capacity: float | None
    """Of `capacity`, money."""


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """The sensitivity of every strategy."""

    cost_bps: list[float]
    """Total costs of a trade that were tried, in basis points."""
    participation: float
    """Share of a session's volume that capacity allows a fill."""
    symbols: dict[str, dict[str, StrategySensitivity]]
    """By symbol and strategy."""


def sensitivity_of_targets(
    window: TradingWindow,
    config: EnvConfig,
    targets: Mapping[str, Ints],
    calendars: Mapping[str, str],
    cost_bps: Sequence[float] = COST_BPS,
    participation: float = PARTICIPATION,
) -> Sensitivity:
    """Cost curve, one-session lag and capacity of every strategy on every symbol.

    The positions are those of the backtest; nothing is decided anew at other costs.

    Args:
        window: sessions traded.
        config: the backtest's fills and costs.
        targets: position that each decision of a strategy asks for, [S, T] by strategy.
        calendars: exchange calendar of each symbol.
        cost_bps: total costs of a trade to try, in basis points.
        participation: see `capacity`.
    """
    paths = np.stack(list(targets.values()), axis=1)
    curves = _cost_curves(window, config, paths, cost_bps)
    late = np.concatenate([np.zeros_like(paths[:, :, :1]), paths[:, :, :-1]], axis=2)
    lagged = replay_targets(window, config, late).equity
    uncapped = replay_targets(window, replace(config, max_participation=None), paths).traded_value
    symbols: dict[str, dict[str, StrategySensitivity]] = {}
    for s, symbol in enumerate(window.symbols):
        n, days = int(window.num_sessions[s]), days_per_year(calendars[symbol])
        symbols[symbol] = {
            strategy: StrategySensitivity(
                cost_curve=[None if np.isnan(value) else value for value in curves[s, c].tolist()],
                lagged=_score(lagged[s, c, :n], window.years[s, 1:n], config, days),
                capacity=capacity(uncapped[s, c, :n], window, s, config.initial_cash, participation),
            )
            for c, strategy in enumerate(targets)
        }
    return Sensitivity(cost_bps=list(cost_bps), participation=participation, symbols=symbols)


def _cost_curves(window: TradingWindow, config: EnvConfig, paths: Ints, cost_bps: Sequence[float]) -> Floats:
    """Sum of log returns of `paths` [S, C, T] at each of the total costs, [S, C, len(cost_bps)]; NaN after ruin."""
    configs = [replace(config, cost_bps=bps, slippage_bps=0.0) for bps in cost_bps]
    equities = [replay_targets(window, each, paths).equity for each in configs]
    returns = [np.where(_is_ruined(path), np.nan, cumulative_log_returns(path, window)) for path in equities]
    return np.stack(returns, axis=-1)


def _is_ruined(equity: Floats) -> Bools:
    """Whether each account lost everything, [...] from equity [..., T]."""
    ruined: Bools = np.any(equity[..., 1:] <= equity[..., :-1] * RUIN_SHARE * (1.0 + 1e-9), axis=-1)
    return ruined


def capacity(
    traded_value: Floats, window: TradingWindow, symbol: int, initial_cash: float, participation: float
) -> float | None:
    """Largest initial cash with which every fill stays within `participation` of its session's volume.

    Args:
        traded_value: money traded at each session by an account that began with `initial_cash`, [n].
        window: sessions traded, with the volumes.
        symbol: its index in the window.
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


def _score(equity: Floats, years: Floats, config: EnvConfig, days: int) -> LaggedScores:
    if _is_ruined(equity):
        return LaggedScores(cumulative_return=None, sharpe_ratio=None)
    returns = np.diff(np.log(equity))
    ratio = float(sharpe_ratio(returns - np.log1p(config.cash_rate) * years, days))
    return LaggedScores(cumulative_return=float(returns.sum()), sharpe_ratio=None if np.isnan(ratio) else ratio)
