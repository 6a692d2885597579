"""Which sessions are learned from, chosen by and judged on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import polars as pl

from flag_kedro.data.calendar import exchange_sessions
from flag_kedro.data.config import DataConfig, WindowsConfig, check_windows
from flag_kedro.data.investorbench import CRYPTO
from flag_kedro.data.market import symbol_calendar
from flag_kedro.data.schema import DataError

INVESTORBENCH_STOCKS = WindowsConfig(
    train=(date(2020, 7, 1), date(2020, 9, 30)), test=(date(2020, 10, 1), date(2021, 5, 6))
)
INVESTORBENCH_CRYPTO = WindowsConfig(
    train=(date(2023, 2, 11), date(2023, 4, 4)), test=(date(2023, 4, 5), date(2023, 11, 5))
)
TRAIN_SHARE, VALIDATION_SHARE = 0.6, 0.2


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


def resolve_windows(data: DataConfig, sessions: Mapping[str, pl.Series]) -> Windows:
    """Fill in the source's own windows and check each against what there is.

    Args:
        data: parameters; a window given there wins over the source's own.
        sessions: for each symbol the sessions that have a market state, ascending.

    Raises:
        DataError: when windows overlap, a symbol has fewer than two sessions in one or none at its edges, or the
            source has no windows of its own for what is left out.
    """
    own = _simulated_windows(sessions) if data.source == "simulated" else _investorbench_windows(sessions)
    given = data.windows or WindowsConfig()
    train, validation, test = (
        given.train or own.train,
        given.validation or own.validation,
        given.test or own.test,
    )
    if train is None or test is None:
        raise DataError(
            "data.windows: stocks and crypto in one run have no windows of their own in common; "
            "set data.windows.train and data.windows.test"
        )
    try:
        check_windows({"train": train, "validation": validation, "test": test})
    except ValueError as error:
        raise DataError(str(error)) from error
    windows = Windows(train=train, validation=validation, test=test)
    for symbol, days in sessions.items():
        for name, window in (("train", train), ("validation", validation), ("test", test)):
            if window is not None:
                _check_coverage(symbol, name, window, days, symbol_calendar(symbol, data))
    return windows


def _check_coverage(symbol: str, name: str, window: tuple[date, date], days: pl.Series, calendar: str) -> None:
    """Refuse a window in which a session of the symbol's exchange has no market state."""
    expected = exchange_sessions(calendar, *window)["session"]
    missing = expected.filter(~expected.is_in(days.implode()))
    if len(missing):
        raise DataError(
            f"data.windows.{name} is {window[0]} to {window[1]}, but {symbol} has market states from {days[0]} to "
            f"{days[-1]}: {len(missing)} session(s) without one, first {missing[0]} (indicators need the 59 sessions "
            "before the first state); move the window or bring more prices"
        )
    if len(expected) < 2:
        raise DataError(f"data.windows.{name} holds {len(expected)} session(s) of {symbol}; at least 2 are needed")


def _simulated_windows(sessions: Mapping[str, pl.Series]) -> WindowsConfig:
    days = next(iter(sessions.values()))
    train_end = int(len(days) * TRAIN_SHARE)
    validation_end = int(len(days) * (TRAIN_SHARE + VALIDATION_SHARE))
    if validation_end - train_end < 2:
        raise DataError(
            f"data.windows: {len(days)} session(s) are too few to divide by 60/20/20 into windows of at least 2; "
            "lengthen simulated.first_session to simulated.last_session"
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
