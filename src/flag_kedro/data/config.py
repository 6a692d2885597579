"""Parameters `data.*` and `news.*`: which market, which symbols, which windows."""

from datetime import date
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.dataclasses import dataclass

SOURCES_TO_COME = ("yahoo", "files")


def split_tokens(value: Any) -> Any:
    """Turn what YAML or `--params` gives for a list field into a list.

    Kedro splits `--params` at every comma, so lists on the command line are separated by blanks, and a
    single token arrives already converted (`3` as int, `ON` as bool).

    Raises:
        ValueError: for a token whose spelling was lost on the way.
    """
    if isinstance(value, bool):
        raise ValueError(f"arrived as {value}, so its spelling is lost; set it in YAML as a quoted list")
    if isinstance(value, int):
        return [str(value)]
    if isinstance(value, str):
        return value.split()
    return value


def split_window(value: Any) -> Any:
    """Accept `FIRST LAST` as well as a list of two dates."""
    tokens = split_tokens(value)
    if isinstance(tokens, (list, tuple)) and len(tokens) != 2:
        raise ValueError(f"a window is its first and last session date, such as 2020-10-01 2021-05-06; got {value!r}")
    return tokens


def check_source(value: Any) -> Any:
    """Say plainly which sources are not built yet."""
    if value in SOURCES_TO_COME:
        raise ValueError(f"the source {value!r} is not available in this version; use simulated or investorbench")
    return value


Window = Annotated[tuple[date, date], BeforeValidator(split_window)]
Symbol = Annotated[str, StringConstraints(to_upper=True)]
Symbols = Annotated[tuple[Symbol, ...], BeforeValidator(split_tokens), Field(min_length=1)]


def check_windows(windows: dict[str, tuple[date, date] | None]) -> None:
    """Refuse windows that end before they begin, share a day, or do not follow each other as `windows` lists them.

    Raises:
        ValueError: naming the windows and dates.
    """
    given = {name: window for name, window in windows.items() if window is not None}
    for name, (first, last) in given.items():
        if first >= last:
            raise ValueError(f"data.windows.{name} must end after it begins; got {first} to {last}")
    names = sorted(given, key=lambda name: given[name])
    for before, after in pairwise(names):
        if given[after][0] <= given[before][1]:
            raise ValueError(
                f"data.windows.{before} ({given[before][0]} to {given[before][1]}) and data.windows.{after} "
                f"({given[after][0]} to {given[after][1]}) overlap; learning and judging must not share a session"
            )
    if names != list(given):
        raise ValueError(
            f"data.windows come in the order {', '.join(names)}; it must be {', '.join(given)}: prompts look back, so "
            "whoever learns after the sessions that judge has seen what they earned"
        )


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class WindowsConfig:
    """First and last session date of each window; one left out is the source's own."""

    train: Window | None = None
    """Sessions the policy learns from."""
    validation: Window | None = None
    """Sessions that choose the best weights; InvestorBench has none of its own, simulated has."""
    test: Window | None = None
    """Sessions the backtest scores."""

    def __post_init__(self) -> None:
        check_windows({"train": self.train, "validation": self.validation, "test": self.test})


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class DataConfig:
    """Where prices and news come from."""

    source: Annotated[Literal["simulated", "investorbench"], BeforeValidator(check_source)] = "simulated"
    """`simulated` needs nothing; `investorbench` reads the benchmark's JSON files in `path`."""
    path: str | None = None
    """Folder of the source's files, relative to where the command runs."""
    symbols: Symbols | None = None
    """Symbols to use, all of the source's own when null. On the command line separated by blanks."""
    calendar: str | dict[str, str] | None = None
    """exchange_calendars name for all symbols or by symbol; null means XNYS for stocks, 24/7 for crypto."""
    windows: WindowsConfig | None = None
    """Windows; null means the source's own."""
    seed: int = Field(0, ge=0)
    """Seed of the simulated market; nothing else reads it."""

    def __post_init__(self) -> None:
        if self.source == "investorbench" and self.path is None:
            raise ValueError(
                "data.path must name the folder of InvestorBench's JSON files when data.source is investorbench"
            )
        if self.symbols is not None and len(set(self.symbols)) != len(self.symbols):
            raise ValueError(f"data.symbols names a symbol twice: {' '.join(self.symbols)}")


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class NewsConfig:
    """When an article counts as known."""

    date_only: Literal["next_session", "same_session"] = "next_session"
    """When an article without a time of day becomes usable: at the open of the first session strictly
    after its date, or (`same_session`, the published protocol) on or after it."""
