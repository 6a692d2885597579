"""Training, validation and test windows: from `data.windows`, or the source's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from flag_kedro.data.calendar import exchange_sessions
from flag_kedro.data.config import DataConfig, WindowsConfig, check_windows, window_ends
from flag_kedro.data.exchanges import CRYPTO, symbol_calendar
from flag_kedro.data.schema import SHOWN
from flag_kedro.errors import ParameterError

INVESTORBENCH_STOCKS = WindowsConfig(
    train=(date(2020, 7, 1), date(2020, 9, 30)), test=(date(2020, 10, 1), date(2021, 5, 6))
)
INVESTORBENCH_CRYPTO = WindowsConfig(
    train=(date(2023, 2, 11), date(2023, 4, 4)), test=(date(2023, 4, 5), date(2023, 11, 5))
)
FEWEST = {
    "train": (3, "lest a regression on news has no two fills to learn from"),
    "validation": (2, "lest nothing is earned in it"),
    "test": (4, "so that the audit has a decision with others before and after it"),
}
"""Sessions of the longest symbol in each window, and what would refuse it later with fewer."""
LATEST_START = timedelta(days=7)
"""After its first day a window's first session comes at the latest so much later, on any exchange."""


@dataclass(frozen=True)
class Windows:
    """First and last session date of each window, both included."""

    train: tuple[date, date]
    validation: tuple[date, date] | None
    test: tuple[date, date]

    def as_text(self) -> dict[str, list[str] | None]:
        """ISO dates, for JSON."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: [day.isoformat() for day in window] if window else None for name, window in named.items()}

    @classmethod
    def from_text(cls, text: Mapping[str, Sequence[str] | None]) -> "Windows":
        """What `as_text` wrote."""
        spans = {name: tuple(map(date.fromisoformat, days)) if days else None for name, days in text.items()}
        return cls(**spans)  # type: ignore[arg-type]  # two days each


def takes_part(states: pl.DataFrame, window: tuple[date, date]) -> bool:
    """Whether a symbol trades in a window: chosen at its beginning, with the knowledge of then.

    Without a universe every symbol does. With one, those do that were members on their first session in the window, if
    that comes within a week of its beginning; who joins later was not known to join.

    Args:
        states: the symbol's sessions within the window; `member` (bool) where there is a universe.
        window: first and last day, both included.
    """
    if "member" not in states.columns:
        return True
    if states.height < 2:
        return False
    first: date = states["session"][0]
    return bool(states["member"][0]) and first - window[0] <= LATEST_START


def resolve_windows(data: DataConfig, states: Mapping[str, pl.DataFrame], *, num_warming: int = 0) -> Windows:
    """Fill in the source's own windows and check each against the market states.

    Args:
        data: parameters; a window given there wins over the source's own.
        states: for each symbol its market states by `session`, ascending; with `member` and `delisted` where there is a
            universe.
        num_warming: first states of a symbol that warm indicators up (`features.warm_up`); in a simulated market they
            lie before the span that windows divide, and belong to the training window.

    Raises:
        ParameterError: when windows overlap, a symbol has too few sessions in one or none at its edges, or the
            source has no windows of its own for what is left out.
        DataError: when an exchange's calendar does not reach over a window.
    """
    sessions = {symbol: table["session"] for symbol, table in states.items()}
    given = data.windows or WindowsConfig()
    whole = given.train and given.validation and given.test
    defaults = given if whole else _default_windows(data, given, sessions, num_warming)
    train, validation, test = (
        given.train or defaults.train,
        given.validation or defaults.validation,
        given.test or defaults.test,
    )
    if train is None or test is None:
        raise ParameterError(
            f"data.windows: {' '.join(list(sessions)[:SHOWN])} ({data.source}) have no windows of their own in common, "
            "as stocks and crypto have none; set data.windows.train and data.windows.test"
        )
    try:
        check_windows({"train": train, "validation": validation, "test": test})
    except ValueError as error:
        raise ParameterError(str(error)) from error
    windows = Windows(train=train, validation=validation, test=test)
    for name, window in (("train", train), ("validation", validation), ("test", test)):
        if window is not None:
            _check_window(name, window, states, data)
    return windows


def _check_window(name: str, window: tuple[date, date], states: Mapping[str, pl.DataFrame], data: DataConfig) -> None:
    """Refuse a window that a symbol does not cover, or in which none takes part."""
    inside = pl.col("session").is_between(*window)
    chosen = [symbol for symbol, table in states.items() if takes_part(table.filter(inside), window)]
    if not chosen:
        raise ParameterError(
            f"data.windows.{name} is {window[0]} to {window[1]}, but no symbol of data.universe was a member with "
            "market states at its beginning; indicators need 60 sessions of prices: move the window, bring more, or "
            "set features.warm_up to partial"
        )
    for symbol in chosen:
        delisted = states[symbol]["delisted"][0] if "delisted" in states[symbol].columns else None
        last = min(window[1], delisted) if delisted else window[1]
        first = max(window[0], states[symbol]["session"][0]) if "member" in states[symbol].columns else window[0]
        _check_coverage(symbol, name, (first, last), states[symbol]["session"], symbol_calendar(symbol, data))
    longest = max(int(states[symbol]["session"].is_between(*window).sum()) for symbol in chosen)
    needed, why = FEWEST[name]
    if longest < needed:
        raise ParameterError(
            f"data.windows.{name} holds {longest} sessions at most of any symbol; at least {needed} are needed, {why}"
        )


def _check_coverage(symbol: str, name: str, window: tuple[date, date], days: pl.Series, calendar: str) -> None:
    """Refuse a window that reaches beyond a symbol's market states, or holds too few of them.

    A session without a state between the first and the last is a gap that ingest has judged (`data.max_gap`), also
    where it is the window's own first or last day.
    """
    expected = exchange_sessions(calendar, *window)["session"]
    missing = expected.filter((expected < days[0]) | (expected > days[-1]))
    if len(missing):
        raise ParameterError(
            f"data.windows.{name} is {window[0]} to {window[1]}, but {symbol} has market states from {days[0]} to "
            f"{days[-1]}: {len(missing)} session(s) without one, first {missing[0]} (indicators need the 59 sessions "
            "before the first state, unless features.warm_up is partial); move the window or bring more prices"
        )
    num_states = int(days.is_between(*window).sum())
    if num_states < 2:
        raise ParameterError(f"data.windows.{name} holds {num_states} session(s) of {symbol}; at least 2 are needed")


def _default_windows(
    data: DataConfig, given: WindowsConfig, sessions: Mapping[str, pl.Series], num_warming: int
) -> WindowsConfig:
    """The published windows of InvestorBench; else 60/20/20 of the days from the latest start to the earliest end."""
    if data.source == "investorbench":
        return _investorbench_windows(sessions)
    if data.source == "simulated":
        way_out = "lengthen simulated.first_session to simulated.last_session"
        return _divide(next(iter(sessions.values())), way_out, num_warming)
    if given.train or given.test:
        return WindowsConfig()
    first, last = max(days[0] for days in sessions.values()), min(days[-1] for days in sessions.values())
    if first > last:
        raise ParameterError(
            f"data.windows: the symbols have no sessions in common: one begins {first}, another ends {last}; set "
            "data.windows.train and data.windows.test, or leave symbols out with data.symbols"
        )
    days = pl.concat(list(sessions.values())).unique().sort()
    return _divide(days.filter(days.is_between(first, last)), "bring more prices")


def _divide(days: pl.Series, way_out: str, num_before: int = 0) -> WindowsConfig:
    """Windows of all days but the first `num_before`, which the training window takes as well."""
    train_end, validation_end = (num_before + end for end in window_ends(len(days) - num_before))
    fewest = FEWEST["test"][0]
    if len(days) - validation_end < fewest:
        raise ParameterError(
            f"data.windows: {len(days)} session(s) are too few to divide by 60/20/20, of which the last needs at least "
            f"{fewest}; {way_out}"
        )
    return WindowsConfig(
        train=(days[0], days[train_end - 1]),
        validation=(days[train_end], days[validation_end - 1]),
        test=(days[validation_end], days[-1]),
    )


def _investorbench_windows(sessions: Mapping[str, pl.Series]) -> WindowsConfig:
    crypto = {symbol in CRYPTO for symbol in sessions}
    if crypto == {False}:
        return INVESTORBENCH_STOCKS
    if crypto == {True}:
        return INVESTORBENCH_CRYPTO
    return WindowsConfig()
