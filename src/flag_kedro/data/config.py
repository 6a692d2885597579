"""Parameters `data.*` and `news.*`: which market, which symbols, which windows."""

from datetime import date
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.dataclasses import dataclass

from flag_kedro.data.form import BySymbol, TableForm, join_dots


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
    """Accept `FIRST LAST` as well as a list of two dates.

    Raises:
        ValueError: when there are not two of them.
    """
    tokens = split_tokens(value)
    if isinstance(tokens, (list, tuple)) and len(tokens) != 2:
        raise ValueError(f"a window is its first and last session date, such as 2020-10-01 2021-05-06; got {value!r}")
    return tokens


def split_days(value: Any) -> Any:
    """Accept a day, or several in one text, as well as a list of them."""
    return [value] if isinstance(value, date) else split_tokens(value)


Days = Annotated[tuple[date, ...], BeforeValidator(split_days)]
Window = Annotated[tuple[date, date], BeforeValidator(split_window)]
Symbol = Annotated[str, StringConstraints(to_upper=True)]
Symbols = Annotated[tuple[Symbol, ...], BeforeValidator(split_tokens), Field(min_length=1)]


Share = Annotated[float, Field(gt=0.0, lt=1.0)]

TRAIN_SHARE, VALIDATION_SHARE = 0.6, 0.2
MAX_JUMP = 0.5


def window_ends(num_sessions: int) -> tuple[int, int]:
    """Where training and validation end in so many sessions divided 60/20/20, as indices behind their last one."""
    return int(num_sessions * TRAIN_SHARE), int(num_sessions * (TRAIN_SHARE + VALIDATION_SHARE))


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

    source: Literal["simulated", "investorbench", "yahoo", "files"] = "simulated"
    """`simulated` needs nothing; `investorbench` reads the benchmark's JSON files in `path`; `yahoo` downloads into a
    store of its own; `files` reads tables of prices that `path` names."""
    path: str | None = None
    """The source's files, relative to where the command runs: a folder, or for `files` also a file or a pattern such as
    `prices/*.csv`."""
    symbols: Symbols | None = None
    """Symbols to use, all of the source's own when null. On the command line separated by blanks."""
    calendar: str | BySymbol | None = None
    """exchange_calendars name for all symbols or by symbol; null: 24/7 for BTC-USD, XTKS for 7203.T and so on, as Yahoo
    writes symbols, else XNYS."""
    extra_sessions: dict[str, Days] = Field(default_factory=dict)
    """By calendar, days on which its exchange traded though exchange_calendars has no session: {XBOM: [2024-01-20]}.
    They open and close when most sessions do."""
    windows: WindowsConfig | None = None
    """Windows; null means the source's own."""
    seed: int = Field(default=0, ge=0)
    """Seed of the simulated market; nothing else reads it."""
    universe: str | None = None
    """CSV of who belonged to the universe when (docs/data.md): symbols join and leave it as they did then."""
    chosen_on: date | None = None
    """Day on which `symbols` were chosen. Symbols chosen after a window began are those that survived it."""
    max_gap: Annotated[int, Field(ge=0)] | None = None
    """Sessions in a row that a symbol may lack between its first price and its last; they are skipped and counted,
    never filled. Null means the source's own: 1 for investorbench, else 0."""
    max_jump: Share | Annotated[dict[str, Share], BeforeValidator(join_dots)] = MAX_JUMP
    """Largest fall of an adjusted price within a session, and largest rise by the same factor: 0.5 lets it halve or
    double. What is beyond is most likely a split that the adjustment lacks. By symbol for those that did fall or rise
    so far ({GONE: 0.999}); the others keep 0.5."""
    quarantine: bool = False
    """Leave rows that break a rule or cannot be read out, and write them to 02_intermediate/quarantine.parquet,
    instead of refusing all."""
    max_left_out: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    """Largest share of a symbol's prices that quarantine may leave out, of all articles that it may, and of the rows of
    news.path (files) that may be about symbols without prices; more is an error, for it is most likely misread."""

    def __post_init__(self) -> None:
        if self.source in ("investorbench", "files") and self.path is None:
            wanted = "the folder of InvestorBench's JSON files" if self.source == "investorbench" else "files of prices"
            raise ValueError(f"data.path must name {wanted} when data.source is {self.source}")
        if self.source == "yahoo" and self.symbols is None and self.universe is None:
            raise ValueError("data.symbols must say what to download when data.source is yahoo, such as MSFT BTC-USD")
        if "24/7" in self.extra_sessions:
            raise ValueError("data.extra_sessions names 24/7, which has every day; leave it out")
        if self.symbols is not None and len(set(self.symbols)) != len(self.symbols):
            raise ValueError(f"data.symbols names a symbol twice: {' '.join(self.symbols)}")

    def largest_jump(self, symbol: str) -> float:
        """The largest fall of a symbol's price that `max_jump` allows."""
        return self.max_jump if isinstance(self.max_jump, float) else self.max_jump.get(symbol, MAX_JUMP)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", coerce_numbers_to_str=True))
class NewsConfig(TableForm):
    """Where articles come from, how their tables are written, and when one counts as known."""

    KEY: ClassVar[str] = "news"

    date_only: Literal["next_session", "same_session"] = "next_session"
    """When an article without a time of day, or with one of exactly 00:00:00 as written, in `timezone` or at the
    exchange, becomes usable: at the open of the first session strictly after its date, or (`same_session`, the
    published protocol) on or after it."""
    source: Literal["own", "files", "huggingface", "none"] = "own"
    """`own`: the articles of data.source; `files`: those that `path` names; `huggingface`: the dataset that `path`
    names, streamed (needs the extra `huggingface`); `none`: no news."""
    path: str | None = None
    """File, folder or pattern of articles; or a dataset on the Hugging Face hub, one file of it
    (hf://datasets/OWNER/NAME/FILE.csv), or a local folder of one."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Which columns of the files or the dataset are ours: {headline: Article_title, published_at: Date}."""
    symbol_separator: Literal["comma", "semicolon", "pipe", "blank"] | None = None
    """What stands between the symbols of a text that names several; lists ([ACME, BRK-B]) need none. Null: a text is
    one symbol."""
    revision: str | None = None
    """Commit or tag of the dataset on the hub."""
    split: str = "train"
    """Split of the dataset."""
    duplicate_sessions: Annotated[int, Field(ge=0)] = 3
    """The same story from several wires within so many sessions counts once; 0 keeps all."""
    filings: bool = True
    """Show summaries of annual and quarterly reports, where the source has them, as articles on their date."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source in ("files", "huggingface") and self.path is None:
            raise ValueError(f"news.path must name the articles when news.source is {self.source}")
        if self.source == "huggingface" and self.csv_only:
            raise ValueError(f"{', '.join(self.csv_only)} is for news.source=files; a dataset is read as its files say")
