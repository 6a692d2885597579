"""What a path of positions would have earned: shifted in time, at other costs, a session later.

The environment replays the path itself, so fills, costs and marks are those of the backtest.

Shape legend: S = symbols, A = paths per symbol, T = sessions of the longest symbol, n = sessions of one.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

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
    """Trade towards `targets`, each path in an account of its own that starts flat, at any session, event or not.

    Args:
        window: sessions to trade.
        config: fills, costs, positions and stop, which may come at another session than in the backtest;
            `max_episode_steps` is ignored.
        targets: position that each decision asks for, [S, A, T]; what lies beyond a symbol's last
            session is not read. Flat is out of reach once a `long_short` account has traded.

    Returns:
        Equity and trades. A ruined account stays where it ended.
    """
    num_symbols, num_paths, longest = targets.shape
    plain = replace(
        config,
        max_episode_steps=None,
        account_view="compact",
        reward="log_return",
        drawdown_penalty=0.0,
        cvar_penalty=0.0,
        decide_on="every_session",
    )
    env = TradingVectorEnv(replace(window, event_kinds=None), plain, num_paths)
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
    """The legal action that asks for the position wanted, hold where it was asked for or is out of reach, [N].

    In a stopped account every position is.
    """
    asked, lowest = env.accounts.asked, env.accounts.lowest
    buys, sells = (wanted == 1) & (asked < 1), (wanted == lowest) & (asked > lowest)
    actions = np.where(buys, BUY, np.where(sells, SELL, HOLD))
    return np.where(env.accounts.is_legal(actions), actions, HOLD)


def cumulative_log_returns(equity: Floats, window: TradingWindow) -> Floats:
    """ln(last equity / first equity) of every path, [S, A] from [S, A, T]."""
    last = np.take_along_axis(equity, (window.num_sessions - 1)[:, None, None], axis=2)[:, :, 0]
    return np.log(last / equity[:, :, 0])


@dataclass(frozen=True)
class Shifts:
    """What a path of positions and all its circular time shifts earned."""

    log_returns: Floats
    """[K], without costs; the first is the path itself."""
    changes: bool
    """Whether the path ever changes; else every shift is the path itself and nothing can be said."""
    stopped: bool = False
    """Whether `env.max_drawdown_stop` closed the account: the path was flat from where it had lost on, and its shifts
    are not, so that they are not as likely as the path itself."""

    @property
    def percentile(self) -> float | None:
        """Share of the other shifts that earned less, ties by half; None where it never changes or is stopped."""
        own, others = self.log_returns[0], self.log_returns[1:]
        if not self.changes or self.stopped:
            return None
        return float((others < own).mean() + 0.5 * (others == own).mean())

    @property
    def p_value(self) -> float | None:
        """Share of all shifts, the path itself included, that earned at least as much; None as `percentile`.

        With timing that has nothing to do with the market every shift is as likely as the path itself, so that
        this is at most p in a share p of all cases (a randomisation test).
        """
        if not self.changes or self.stopped:
            return None
        return float((self.log_returns >= self.log_returns[0]).mean())


def shift_in_time(
    window: TradingWindow,
    config: EnvConfig,
    targets: Mapping[str, Ints],
    stopped: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> dict[str, dict[str, Shifts]]:
    """Shift each strategy's positions around the window, symbol by symbol.

    A shift keeps exposure and turnover and breaks the timing, so a path that owes its return to being long or to
    trading much is no better than its shifts. Costs and `max_participation` are left out: around a circle every shift
    makes the same trades, but replayed from a flat start each shift pays for the seam where the path's end meets its
    beginning, and the path itself does not.

    Args:
        window: sessions traded.
        config: fills, interest and stop; the rest is ignored.
        targets: position that each decision of a strategy asks for, [S, T] by strategy.
        stopped: symbols in which the account of a strategy was stopped, by strategy.

    Returns:
        By symbol and strategy; K is the number of decisions that are filled.
    """
    free, names = replace(config, cost_bps=0.0, slippage_bps=0.0, max_participation=None), list(targets)
    by_symbol: dict[str, dict[str, Shifts]] = {}
    for s, symbol in enumerate(window.symbols):
        decisions = int(window.num_sessions[s]) - 1  # the last one fills no more
        paths = np.stack([targets[name][s, :decisions] for name in names])
        shifts = np.stack([np.roll(paths, k, axis=1) for k in range(decisions)], axis=1)
        one_symbol = _one_symbol(window, s)
        padded = np.concatenate([shifts, shifts[:, :, -1:]], axis=2).reshape(1, -1, decisions + 1)
        equity = replay_targets(one_symbol, free, padded).equity
        returns = cumulative_log_returns(equity, one_symbol).reshape(len(names), decisions)
        by_symbol[symbol] = {
            name: Shifts(earned, bool((path != path[0]).any()), symbol in stopped.get(name, ()))
            for name, path, earned in zip(names, paths, returns, strict=True)
        }
    return by_symbol


def shift_together(shifts: Sequence[Shifts], pool: Callable[[Floats], Floats]) -> Shifts:
    """Shift several symbols by one time, so that what they have in common stays together.

    Args:
        shifts: of one strategy on each symbol; symbols of fewer sessions go around once, too.
        pool: log returns of symbols [S, K] to those of all together [K].
    """
    num = max(len(shift.log_returns) for shift in shifts)
    rows = [shift.log_returns[np.arange(num) * len(shift.log_returns) // num] for shift in shifts]
    changes, stopped = any(shift.changes for shift in shifts), any(shift.stopped for shift in shifts)
    return Shifts(pool(np.stack(rows)), changes, stopped)


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
