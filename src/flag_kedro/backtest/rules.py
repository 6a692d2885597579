"""Rules that know the position they want in every session beforehand, and the classic ones among them.

Shape legend: S = symbols of the window, T = sessions of the longest, n = sessions of one symbol's table.
"""

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
import talib

from flag_kedro.env.account import BUY, HOLD, SELL, Bools, Floats, Ints
from flag_kedro.env.states import Decide, Decisions, States
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import DataError

MACD_FAST, MACD_SLOW, MACD_SIGNAL = 12, 26, 9
RSI_SESSIONS, RSI_LOW, RSI_HIGH = 14, 30.0, 70.0


def follow(targets: Ints) -> Decide:
    """Ask, session by session, for the given positions.

    +1 is asked for by buying. From long, 0 and -1 are asked for by selling; -1 also from flat, where selling is
    legal then (`long_short`). Everything else holds: what is there already, what cannot be reached (-1 under
    `long_flat`), and 0 while short, since no action of `long_short` leads back to flat.

    Args:
        targets: -1, 0 or 1 for each symbol and session of the window to be replayed, [S, T].

    Returns:
        A rule for one replay of that window: its k-th call answers session k.

    Raises:
        ValueError: (by the rule) when it is asked for a session beyond T.
    """
    num_sessions = targets.shape[1]
    asked = 0

    def decide(states: States) -> Decisions:
        nonlocal asked
        if asked == num_sessions:
            raise ValueError(f"the rule has targets for {num_sessions} sessions and was asked for one more")
        wanted = targets[:, asked]
        asked += 1
        can_sell, can_buy = states.action_mask[:, SELL], states.action_mask[:, BUY]
        is_long = can_sell & ~can_buy
        sells = ((wanted == 0) & is_long) | ((wanted == -1) & can_sell)
        return Decisions(np.where((wanted == 1) & can_buy, BUY, np.where(sells, SELL, HOLD)))

    return decide


def macd_targets(tables: Mapping[str, pl.DataFrame], window: TradingWindow, long_short: bool = False) -> Ints:
    """Long while MACD (12, 26) is above its 9-session signal line, else flat (or short); flat in the warm-up.

    Args:
        tables: market states of each symbol; sessions before the window warm the indicator up.
        window: sessions to decide on.
        long_short: be short rather than flat.

    Returns:
        Positions to ask for at each session's close, [S, T]; 0 behind the end of a shorter symbol.

    Raises:
        DataError: when a mark is missing or a session of the window has none.
    """
    return _targets(tables, window, lambda marks: _macd_positions(marks, _lowest(long_short)))


def rsi_targets(tables: Mapping[str, pl.DataFrame], window: TradingWindow, long_short: bool = False) -> Ints:
    """Go long when Wilder's RSI of 14 sessions is below 30, leave (or go short) above 70, keep between.

    Arguments, result and errors are those of `macd_targets`.
    """
    return _targets(tables, window, lambda marks: _rsi_positions(marks, _lowest(long_short)))


def keep_between(enter: Bools, leave: Bools, lowest: int) -> Ints:
    """Positions of a rule with hysteresis: 0 at first, 1 from `enter` [n] on, `lowest` from `leave` [n] on, [n]."""
    changes = np.where(enter, 1, lowest)
    last_change = np.maximum.accumulate(np.where(enter | leave, np.arange(len(enter)), -1))
    return np.where(last_change >= 0, changes[last_change], 0)


def place_in_window(values: Mapping[str, Ints], tables: Mapping[str, pl.DataFrame], window: TradingWindow) -> Ints:
    """The window's part of a number for each session of each table, by date, [S, T]; 0 where it has no session.

    Args:
        values: one number for each row of a symbol's table, [n] each.
        tables: at least `session`, ascending.
        window: sessions wanted.

    Raises:
        DataError: when a table lacks a session of the window.
    """
    placed = np.zeros(window.mark_prices.shape, dtype=np.int64)
    for s, symbol in enumerate(window.symbols):
        row_of = {day: row for row, day in enumerate(tables[symbol]["session"])}
        missing = [day for day in window.sessions[s] if day not in row_of]
        if missing:
            raise DataError(
                f"{symbol} {missing[0]}: the table has no such session, but the window has "
                f"({len(missing)} in all); give the market states that the window was cut from"
            )
        placed[s, : len(window.sessions[s])] = values[symbol][[row_of[day] for day in window.sessions[s]]]
    return placed


def _targets(tables: Mapping[str, pl.DataFrame], window: TradingWindow, positions_of: Callable[[Floats], Ints]) -> Ints:
    positions = {symbol: positions_of(_marks(symbol, tables[symbol])) for symbol in window.symbols}
    return place_in_window(positions, tables, window)


def _macd_positions(marks: Floats, lowest: int) -> Ints:
    macd, signal, _ = talib.MACD(marks, MACD_FAST, MACD_SLOW, MACD_SIGNAL)
    return np.where(np.isnan(signal), 0, np.where(macd > signal, 1, lowest))


def _rsi_positions(marks: Floats, lowest: int) -> Ints:
    rsi = talib.RSI(marks, RSI_SESSIONS)
    has_moved = np.maximum.accumulate(marks) > np.minimum.accumulate(marks)  # before, RSI is 0 / 0, TA-Lib says 0
    return keep_between((rsi < RSI_LOW) & has_moved, rsi > RSI_HIGH, lowest)


def _marks(symbol: str, table: pl.DataFrame) -> Floats:
    marks = table["mark_price"].to_numpy().astype(np.float64)
    wrong = ~np.isfinite(marks)
    if wrong.any():
        raise DataError(
            f"{symbol} {table['session'][int(np.argmax(wrong))]}: mark_price is missing in {int(wrong.sum())} "
            "session(s); an indicator needs all of them. Rebuild the features"
        )
    return marks


def _lowest(long_short: bool) -> int:
    return -1 if long_short else 0
