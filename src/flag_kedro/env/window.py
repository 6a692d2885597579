"""A window of market states as arrays; a state that knows more than its decision may is refused.

Shape legend: S = symbols, T = sessions of the longest symbol.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from flag_kedro.data.windows import takes_part
from flag_kedro.env.account import Bools, Floats, Ints
from flag_kedro.env.config import EnvConfig, Fill, Positions
from flag_kedro.env.prompt import write_prefix
from flag_kedro.errors import DataError, LookAheadError
from flag_kedro.features.events import EventRule, find_events

FEW = 5
"""Sessions named in a message."""
YEAR_US = 365 * 24 * 3600 * 1_000_000


@dataclass(frozen=True)
class TradingWindow:
    """Everything the environment may show or trade at; shorter symbols are padded with NaN at the end."""

    fill: Fill
    """Which price `fill_prices` are."""
    positions: Positions
    """Which positions the prompts offer."""
    symbols: tuple[str, ...]
    sessions: tuple[tuple[date, ...], ...]
    """Session dates of each symbol, ascending."""
    prefixes: tuple[tuple[str, ...], ...]
    """Prompt prefix of each symbol and session."""
    fill_prices: Floats
    """Price at which the decision of the session before fills, [S, T]; never read at t = 0."""
    mark_prices: Floats
    """Close at which equity is marked, [S, T]."""
    num_sessions: Ints
    """Sessions of each symbol, [S]."""
    years: Floats
    """Calendar time since the close of the session before, in years of 365 days, [S, T]; 0 at t = 0."""
    fill_volumes: Floats
    """Shares traded, in units of the adjusted prices, in the session in which the decision of the session
    before fills, [S, T]; NaN where the source has none; never read at t = 0."""
    event_kinds: Ints | None = None
    """Kinds of events that each session is (sums of `features.events.EVENT_KINDS`), [S, T], 0 where it is none and
    nothing but `hold` is legal; None where every session may trade."""

    @property
    def is_event(self) -> Bools | None:
        """Whether each session is an event of any kind, [S, T]; None where every session may trade."""
        return None if self.event_kinds is None else self.event_kinds != 0


def effective_fill(fill: Fill, states: Mapping[str, pl.DataFrame]) -> Fill:
    """`fill`, or `next_close` where a symbol has no opens at all to fill at.

    Args:
        fill: as `env.fill` asks.
        states: tables of `features.market_state`, one per symbol.

    Raises:
        DataError: when a symbol has opens on some sessions only.
    """
    if fill != "next_open":
        return fill
    without_opens = False
    for symbol, table in states.items():
        missing = table.filter(pl.col("open_price").is_null())["session"]
        if 0 < len(missing) < table.height:
            days = ", ".join(str(day) for day in missing[:FEW]) + (", ..." if len(missing) > FEW else "")
            raise DataError(
                f"{symbol}: {len(missing)} of {table.height} sessions have no open to fill at ({days}); give it, "
                "or set env.fill=next_close"
            )
        without_opens |= len(missing) == table.height
    return "next_close" if without_opens else fill


def cut_window(
    states: Mapping[str, pl.DataFrame],
    window: tuple[date, date],
    fill: Fill,
    *,
    positions: Positions = "long_flat",
    events: EventRule | None = None,
) -> TradingWindow:
    """Cut `window` (first and last session, both included) out of the market states.

    Where there is a universe, symbols that were no members when the window began are left out, and one that is delisted
    within it ends there, at its last price.

    Args:
        states: tables of `features.market_state`, one per symbol.
        window: session dates.
        fill: which price decisions fill at; see `effective_fill`.
        positions: which positions the prompts offer.
        events: sessions that may trade; None lets all.

    Raises:
        LookAheadError: when a state holds anything known later than its decision.
        DataError: when a price is missing, a symbol has fewer than two sessions in the window, or no symbol takes part
            in it.
    """
    tables = _states_inside(states, window)
    longest = max(table.height for table in tables.values())
    marks = _prices(tables, "mark_price", longest)
    volumes = np.stack([_pad(table["volume"].to_numpy(), longest) for table in tables.values()])
    match fill:
        case "next_open":
            fills = _prices(tables, "open_price", longest)
        case "next_close":
            fills = marks
        case "same_close":
            fills, volumes = _one_session_later(marks), _one_session_later(volumes)
    return TradingWindow(
        fill=fill,
        positions=positions,
        symbols=tuple(tables),
        sessions=tuple(tuple(table["session"]) for table in tables.values()),
        prefixes=tuple(_prefixes(table, positions) for table in tables.values()),
        fill_prices=fills,
        mark_prices=marks,
        num_sessions=np.array([table.height for table in tables.values()], dtype=np.int64),
        years=np.stack([_pad(_years_between(table["decided_at"]), longest) for table in tables.values()]),
        fill_volumes=volumes,
        event_kinds=None if events is None else _event_kinds(states, tables, events, longest),
    )


def refuse_other_sessions(window: TradingWindow, config: EnvConfig) -> None:
    """Refuse a window whose events are not those that `config` trades on.

    Raises:
        ValueError: when one of them knows events and the other does not.
    """
    if (window.event_kinds is None) != (config.decide_on == "every_session"):
        cut = "without events" if window.event_kinds is None else "with events"
        raise ValueError(f"env.decide_on is {config.decide_on}, but the window was cut {cut}; cut it anew")


def require_events(window: TradingWindow, name: str) -> TradingWindow:
    """The window, refused where it has events to trade on but for its last session, whose decision fills no more.

    Args:
        window: cut with or without events.
        name: what it is for, for the message.

    Raises:
        DataError: when every session but the last is none.
    """
    if window.is_event is None:
        return window
    last = window.num_sessions - 1
    if not any(row[:end].any() for row, end in zip(window.is_event, last, strict=True)):
        first, until = min(days[0] for days in window.sessions), max(days[-1] for days in window.sessions)
        raise DataError(
            f"the {name} window from {first} to {until} has no event, so nothing could ever be traded in it; lower "
            "env.event_news_burst, env.event_news_ratio or env.event_large_move, ask for another kind of event, or set "
            "env.decide_on=every_session"
        )
    return window


def _states_inside(states: Mapping[str, pl.DataFrame], window: tuple[date, date]) -> dict[str, pl.DataFrame]:
    """The states in the window of those symbols that take part in it, at least two of each."""
    inside = {symbol: table.filter(pl.col("session").is_between(*window)) for symbol, table in states.items()}
    tables = {symbol: table for symbol, table in inside.items() if takes_part(table, window)}
    if not tables:
        raise DataError(f"no symbol of the universe was a member on {window[0]}, so none trades up to {window[1]}")
    for symbol, table in tables.items():
        _refuse_look_ahead(symbol, table)
        if table.height < 2:
            raise DataError(
                f"{symbol} has {table.height} session(s) from {window[0]} to {window[1]}; at least 2 are needed"
            )
    return tables


def _event_kinds(
    states: Mapping[str, pl.DataFrame], tables: Mapping[str, pl.DataFrame], events: EventRule, length: int
) -> Ints:
    """Kinds of events of every symbol in `tables`, by all its `states` up to each, padded with 0, [S, length]."""
    kinds = np.zeros((len(tables), length), dtype=np.int64)
    for s, (symbol, table) in enumerate(tables.items()):
        begin = states[symbol]["session"].search_sorted(table["session"][0])
        kinds[s, : table.height] = find_events(states[symbol], events)[begin : begin + table.height]
    return kinds


def _refuse_look_ahead(symbol: str, table: pl.DataFrame) -> None:
    leaks = table.filter((pl.col("known_at") > pl.col("decided_at")) | pl.col("known_at").is_null())
    if leaks.height:
        row = leaks.row(0, named=True)
        raise LookAheadError(
            f"{symbol} {row['session']}: the state uses something available at {row['known_at'] or 'an unknown time'}, "
            f"after its decision at {row['decided_at']}; {leaks.height} state(s) in all. Rebuild the features"
        )


def _prefixes(table: pl.DataFrame, positions: Positions) -> tuple[str, ...]:
    """Prompt prefix of each session of a symbol."""
    texts = table.select("market_text", "news_text").iter_rows()
    return tuple(write_prefix(market, news, positions) for market, news in texts)


def _prices(tables: Mapping[str, pl.DataFrame], column: str, length: int) -> Floats:
    """A column of prices of every symbol, padded with NaN at the end, [S, length]; none may be missing."""
    for symbol, table in tables.items():
        missing = table[column].is_null() | table[column].is_nan()
        if missing.any():
            raise DataError(f"{symbol}: {column} is missing in {missing.sum()} session(s)")
    return np.stack([_pad(table[column].to_numpy(), length) for table in tables.values()])


def _pad(values: Floats, length: int) -> Floats:
    """`values` [T], padded with NaN at the end, [length]."""
    padded = np.full(length, np.nan)
    padded[: len(values)] = values
    return padded


def _years_between(decided_at: pl.Series) -> Floats:
    """Years since the close before, 0 at first."""
    return np.diff(decided_at.dt.epoch("us").to_numpy(), prepend=decided_at.dt.epoch("us")[0]) / YEAR_US


def _one_session_later(values: Floats) -> Floats:
    """The value of the session before, NaN at first, [S, T]."""
    return np.concatenate([np.full((len(values), 1), np.nan), values[:, :-1]], axis=1)
