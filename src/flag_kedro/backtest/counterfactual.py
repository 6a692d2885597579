"""What a path of positions would have earned: shifted in time, at other costs, a session later.

The environment replays the path itself, so fills, costs and marks are those of the backtest.

Shape legend: S = symbols, A = paths per symbol, T = sessions of the longest symbol, n = sessions of one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from flag_kedro.env.account import BUY, HOLD, SELL, Floats, Ints
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.env.window import TradingWindow


@dataclass(frozen=True)
class Paths:
    """Replayed paths of positions; NaN beyond a symbol's last session."""

    equity: Floats
    """At every mark, [S, A, T]."""
    traded_value: Floats
    """Money traded at every session, [S, A, T]."""


def replay_targets(window: TradingWindow, config: EnvConfig, targets: Ints) -> Paths:
    """Trade towards `targets`, each path in an account of its own that starts flat.

    Args:
        window: sessions to trade.
        config: fills, costs and positions; `max_episode_steps` is ignored.
        targets: position that each decision asks for, [S, A, T]; what lies beyond a symbol's last
            session is not read. Flat is out of reach once a `long_short` account has traded.

    Returns:
        Equity and trades. A ruined account stays where it ended.
    """
    num_symbols, num_paths, longest = targets.shape
    plain = replace(config, max_episode_steps=None, account_view="compact", reward="log_return")
    env = TradingVectorEnv(window, plain, num_paths)
    by_account = targets.reshape(num_symbols * num_paths, longest)
    equity, traded = np.full(by_account.shape, np.nan), np.full(by_account.shape, np.nan)
    equity[:, 0] = current = env.equity()
    traded[:, 0] = 0.0
    ruined = np.zeros(env.num_envs, dtype=bool)
    for t in range(longest - 1):
        going = t < env.last_session
        actions = np.where(going & ~ruined, _towards(by_account[:, t], env), HOLD)
        _, _, terminated, _, info = env.step(actions)
        current = np.where(ruined, current, info["equity"])
        ruined |= terminated & going
        equity[going, t + 1] = current[going]
        traded[going, t + 1] = info["traded_value"][going]
    return Paths(equity.reshape(targets.shape), traded.reshape(targets.shape))


def _towards(wanted: Ints, env: TradingVectorEnv) -> Ints:
    """The legal action that leads to the position wanted, hold where it is held or out of reach, [N]."""
    position, lowest = env.accounts.position, env.accounts.lowest
    buys, sells = (wanted == 1) & (position < 1), (wanted == lowest) & (position > lowest)
    return np.where(buys, BUY, np.where(sells, SELL, HOLD))


def cumulative_log_returns(equity: Floats, window: TradingWindow) -> Floats:
    """ln(last equity / first equity) of every path, [S, A] from [S, A, T]."""
    last = np.take_along_axis(equity, (window.num_sessions - 1)[:, None, None], axis=2)[:, :, 0]
    return np.log(last / equity[:, :, 0])


def shift_percentiles(
    window: TradingWindow, config: EnvConfig, targets: Mapping[str, Ints]
) -> dict[str, dict[str, float | None]]:
    """Where each strategy's log return lies among those of all circular time shifts of its own positions.

    A shift keeps exposure and turnover (but for the seam) and breaks the timing, so a path that owes its
    return to being long or to trading much is no better than its shifts. Ties count half.

    Args:
        window: sessions traded.
        config: fills and costs.
        targets: position that each decision of a strategy asks for, [S, T] by strategy.

    Returns:
        Percentile in [0, 1] by symbol and strategy; None for a path that never changes, whose shifts are itself.
    """
    names = list(targets)
    percentiles: dict[str, dict[str, float | None]] = {}
    for s, symbol in enumerate(window.symbols):
        decisions = int(window.num_sessions[s]) - 1  # the last one fills no more
        paths = np.stack([targets[name][s, :decisions] for name in names])
        shifts = np.stack([np.roll(paths, k, axis=1) for k in range(decisions)], axis=1)
        one_symbol = _one_symbol(window, s)
        padded = np.concatenate([shifts, shifts[:, :, -1:]], axis=2).reshape(1, -1, decisions + 1)
        equity = replay_targets(one_symbol, config, padded).equity
        returns = cumulative_log_returns(equity, one_symbol).reshape(len(names), decisions)
        percentiles[symbol] = {
            name: None if (path == path[0]).all() else _percentile(values[0], values[1:])
            for name, path, values in zip(names, paths, returns, strict=True)
        }
    return percentiles


def pooled_shift_percentile(window: TradingWindow, config: EnvConfig, targets: Ints) -> float | None:
    """Where a strategy's log return over all symbols lies among those of shifting all its positions by one time.

    See `shift_percentiles`. One shift moves every symbol, so that what symbols have in common stays together.

    Args:
        window: sessions traded; every symbol must have as many.
        config: fills and costs.
        targets: position that each decision asks for, [S, T].

    Returns:
        Percentile in [0, 1]; None where no symbol's path ever changes.

    Raises:
        ValueError: when symbols differ in their number of sessions.
    """
    if (window.num_sessions != window.num_sessions[0]).any():
        raise ValueError(f"symbols must have as many sessions as one another; got {window.num_sessions.tolist()}")
    decisions = int(window.num_sessions[0]) - 1
    paths = targets[:, :decisions]
    if (paths == paths[:, :1]).all():
        return None
    shifts = np.stack([np.roll(paths, k, axis=1) for k in range(decisions)], axis=1)
    padded = np.concatenate([shifts, shifts[:, :, -1:]], axis=2)
    returns = cumulative_log_returns(replay_targets(window, config, padded).equity, window).sum(axis=0)
    return _percentile(returns[0], returns[1:])


def _percentile(value: float, others: Floats) -> float:
    return float((others < value).mean() + 0.5 * (others == value).mean())


def _one_symbol(window: TradingWindow, s: int) -> TradingWindow:
    """The window of its symbol `s` alone."""
    n = int(window.num_sessions[s])
    cut = {
        name: getattr(window, name)[s : s + 1, :n] for name in ("fill_prices", "mark_prices", "years", "fill_volumes")
    }
    return replace(
        window,
        symbols=window.symbols[s : s + 1],
        sessions=window.sessions[s : s + 1],
        prefixes=window.prefixes[s : s + 1],
        num_sessions=window.num_sessions[s : s + 1],
        **cut,
    )
