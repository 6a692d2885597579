"""InvestorBench's JSON files (github.com/felis33/INVESTOR-BENCH): one adjusted close and news texts a day."""

import json
import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.data.calendar import available_from_date, exchange_sessions, sessions_by_symbol
from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.exchanges import benchmark_calendar
from flag_kedro.data.files.times import YEARS
from flag_kedro.data.rules import PriceRules
from flag_kedro.data.schema import NEWS, PRICES, SHOWN
from flag_kedro.data.source import Raw
from flag_kedro.data.validation import validate
from flag_kedro.errors import DataError, ParameterError

COMPANIES = {
    "AAPL": ("Apple",),
    "AMZN": ("Amazon",),
    "BTC": ("Bitcoin",),
    "COIN": ("Coinbase",),
    "ETH": ("Ethereum",),
    "GOOG": ("Google", "Alphabet"),
    "HON": ("Honeywell",),
    "JNJ": ("Johnson & Johnson", "J&J"),
    "META": ("Meta Platforms", "Facebook"),
    "MSFT": ("Microsoft",),
    "NFLX": ("Netflix",),
    "NVDA": ("Nvidia",),
    "TSLA": ("Tesla",),
    "UVV": ("Universal Corp",),
}
"""Companies by symbol, as articles call them."""
FILINGS = {"10k": "10-K", "10q": "10-Q"}
HEADLINE_CHARS = 200
SENTENCE_END = re.compile(
    r"(?<=[.!?])(?<!\b[A-Z]\.)(?<!\b(?:co|dr|jr|mr|ms|no|st|vs)\.)(?<!\b(?:inc|ltd|llc|mrs)\.)(?<!\bcorp\.)\s",
    re.IGNORECASE,
)
"""White space after a full stop that is none of an abbreviation's, as in `U.S.` or `Microsoft Corp. reports`."""
LIST_MARK = re.compile(r"^\s*(?:\d+[.)]|[-*#]+)\s+")
SENTIMENT = re.compile(r"\(\s*sentiment\s*:\s*(\w+)\s*\)\s*$", re.IGNORECASE)


def existing_folder(path: str) -> Path:
    """`data.path` as a folder.

    Raises:
        ParameterError: when it is none.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise ParameterError(f"data.path: {folder.absolute()} is not a folder; point it to InvestorBench's JSON files")
    return folder


def find_symbols(folder: Path) -> tuple[str, ...]:
    """Symbols that have a file in `folder`, in alphabetical order.

    Raises:
        ParameterError: when there is none.
    """
    symbols = tuple(sorted(path.stem.upper() for path in folder.glob("*.json")))
    if not symbols:
        raise ParameterError(
            f"data.path: {folder} holds no InvestorBench file such as msft.json; "
            "copy the data folder of InvestorBench there, or point data.path to it"
        )
    return symbols


def read_folder(data: DataConfig, news: NewsConfig, calendar_of: Callable[[str], str]) -> Raw:
    """Read `data.symbols`, or all, from the folder `data.path`.

    Raises:
        DataError: as `read_investorbench`.
        ParameterError: as `read_investorbench`; when `data.path` is no folder, or has no InvestorBench file.
    """
    assert data.path is not None  # DataConfig requires it for this source
    folder = existing_folder(data.path)
    symbols = data.symbols or find_symbols(folder)
    tables = [
        read_investorbench(folder, symbol, calendar_of(symbol), news.date_only, filings=news.filings)
        for symbol in symbols
    ]
    prices, articles = (pl.concat(parts) for parts in zip(*tables, strict=True))
    gaps = {symbol: _num_gaps(table, calendar_of(symbol)) for symbol, (table, _) in zip(symbols, tables, strict=True)}
    filed = articles.filter(pl.col("source") != "investorbench").height
    facts = {"sessions_without_price": gaps, "filing_summaries": filed}
    names = {symbol: COMPANIES[symbol] for symbol in symbols if symbol in COMPANIES}
    return Raw(prices, articles, names, {"investorbench": facts})


def read_investorbench(
    folder: Path, symbol: str, calendar: str, date_only: str, *, filings: bool = False
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read one symbol.

    The single price of a day is its adjusted close; open, high, low and volume are null. A day whose price is null is
    left out, its articles stay. Articles carry no time, so `date_only` decides when they count as known.

    Args:
        folder: the benchmark's folder.
        symbol: whose file to read.
        calendar: exchange calendar of the symbol.
        date_only: `next_session` or `same_session`.
        filings: whether summaries of annual and quarterly reports become articles; the benchmark leaves them out.

    Returns:
        The symbol's rows of the prices and the news table.

    Raises:
        DataError: when the file is not in InvestorBench's shape, or has a price on a day that is no session.
        ParameterError: when there is no such file, or exchange_calendars does not know the calendar.
    """
    days = _read_days(folder, symbol)
    prices = _prices_table(_read_closes(folder, symbol, days), symbol, calendar)
    articles = [
        article for day, entry in days.items() for article in _articles(folder, symbol, day, entry, filings=filings)
    ]
    return prices, _news_table(articles, symbol, calendar, date_only)


def _read_closes(folder: Path, symbol: str, days: dict[date, dict[str, Any]]) -> pl.DataFrame:
    """`session` and `price` of each day that has one, at least one."""
    closes = pl.DataFrame(
        {
            "session": list(days),
            "price": [_price(folder, symbol, day, content) for day, content in days.items()],
        },
        schema={"session": pl.Date, "price": pl.Float64},
    ).drop_nulls("price")
    if closes.is_empty():
        raise DataError(f"{_file(folder, symbol)} holds no price")
    return closes


def _prices_table(closes: pl.DataFrame, symbol: str, calendar: str) -> pl.DataFrame:
    """The rows of the prices table of `closes`, ascending in `session`."""
    sessions = exchange_sessions(calendar, closes["session"][0], closes["session"][-1])
    off_calendar = closes.join(sessions, on="session", how="anti")["session"]
    if len(off_calendar):
        raise DataError(
            f"{symbol}: prices on {len(off_calendar)} day(s) that are no session of {calendar}, first "
            f"{off_calendar[0]}; set data.calendar to the symbol's own calendar, or correct the file: "
            + ", ".join(map(str, off_calendar[:SHOWN]))
        )
    empty = pl.lit(None, dtype=pl.Float64)
    prices = closes.join(sessions, on="session", maintain_order="left").select(
        pl.lit(symbol).alias("symbol"),
        "session",
        empty.alias("open"),
        empty.alias("high"),
        empty.alias("low"),
        pl.col("price").alias("close"),
        empty.alias("volume"),
        pl.col("price").alias("adj_close"),
        pl.col("closes_at").alias("available_at"),
    )
    return prices.cast(PRICES)  # type: ignore[arg-type]


def read_available(folder: Path, symbols: Sequence[str]) -> tuple[dict[str, pl.DataFrame], tuple[str, ...]]:
    """Checked prices of those `symbols` that have a file in `folder`, and the symbols that have none.

    Returns:
        By symbol the rows of the prices table, ascending, on the symbol's own calendar; and the rest.

    Raises:
        DataError: when none has a file, or a file breaks a rule.
        ParameterError: when the folder has no InvestorBench file.
    """
    present = [symbol for symbol in symbols if _file(folder, symbol).is_file()]
    if not present:
        wanted = " ".join(_file(folder, symbol).name for symbol in symbols)
        symbols_there = " ".join(find_symbols(folder))
        raise DataError(
            f"data.path: {folder} has the files of {symbols_there}, but none of {wanted}; bring one of them"
        )
    prices = {}
    for symbol in present:
        calendar = benchmark_calendar(symbol)
        table, _ = read_investorbench(folder, symbol, calendar, "next_session")
        prices[symbol] = _checked(table, calendar)
    return prices, tuple(symbol for symbol in symbols if symbol not in prices)


def _checked(prices: pl.DataFrame, calendar: str) -> pl.DataFrame:
    """One symbol's prices in order, once they break no rule; the published windows have no gap."""

    def expect(prices: pl.DataFrame) -> pl.DataFrame:
        first, last = pl.col("session").min().alias("first"), pl.col("session").max().alias("last")
        return sessions_by_symbol(prices.group_by("symbol").agg(first, last).with_columns(calendar=pl.lit(calendar)))

    rules = PriceRules(expect, datetime.max.replace(tzinfo=UTC), {}, max_jump=0.9)
    return validate(prices, pl.DataFrame(schema=NEWS), rules, quarantine=False).prices


def _file(folder: Path, symbol: str) -> Path:
    return folder / f"{symbol.lower()}.json"


def _read_days(folder: Path, symbol: str) -> dict[date, dict[str, Any]]:
    path = _file(folder, symbol)
    if not path.is_file():
        raise ParameterError(
            f"data.symbols: no data for {symbol}: {path} does not exist; {folder} has {' '.join(find_symbols(folder))}"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_repeats)
        days = {_day(day): entry for day, entry in content.items()}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is not InvestorBench JSON, {{date: {{prices, news}}}}: {error}") from error
    if not days:
        raise DataError(f"{path} holds no day")
    return dict(sorted(days.items()))


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of the file; JSON itself would keep the last of two equal keys and say nothing."""
    members = dict(pairs)
    if len(members) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} appears twice")
    return members


def _day(text: str) -> date:
    day = date.fromisoformat(text)
    if day.isoformat() != text or not YEARS[0] <= day.year < YEARS[1]:
        raise ValueError(f"{text!r} is no date such as 2020-10-01")
    return day


def _price(folder: Path, symbol: str, day: date, entry: Any) -> float | None:
    """The day's price; null where the exchange had none."""
    entry_name = f"{_file(folder, symbol)}: {day}"
    if not isinstance(entry, dict) or "prices" not in entry:
        raise DataError(
            f"{entry_name} is {repr(entry)[:80]} where {{prices, news}} is expected; a day without a price says null"
        )
    price = entry["prices"]
    if price is None:
        return None
    try:
        number = math.nan if isinstance(price, bool | str | list | dict) else float(price)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise DataError(f"{entry_name} has the price {repr(price)[:80]} where a number is expected")
    return number


def _texts(folder: Path, symbol: str, day: date, entry: dict[str, Any], key: str) -> list[str]:
    texts = entry.get(key) or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{_file(folder, symbol)}: {day} has {key} that is no list of texts")
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{_file(folder, symbol)}: {day} has {key} with half a character: {error}") from error
    return texts


def _articles(
    folder: Path, symbol: str, day: date, entry: dict[str, Any], *, filings: bool
) -> list[tuple[date, str, str, str]]:
    """Day, headline, text and source of the day's articles."""
    articles = [(day, _headline(text), text, "investorbench") for text in _texts(folder, symbol, day, entry, "news")]
    if not filings:
        return articles
    return articles + [
        (day, f"{form} summary: {_headline(_first_finding(text))}", text, f"investorbench {form}")
        for key, form in FILINGS.items()
        for text in _texts(folder, symbol, day, entry, key)
    ]


def _first_finding(text: str) -> str:
    """The summary from its first finding on, without the marks of a list and without a line that only announces one."""
    lines = [line for line in text.replace("**", "").splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].rstrip().endswith(":"):
        lines = lines[1:]
    return LIST_MARK.sub("", lines[0]).strip() if lines else ""


def _headline(text: str) -> str:
    """The first sentence, cut to `HEADLINE_CHARS`, with the article's sentiment tag kept."""
    tag = SENTIMENT.search(text)
    sentence = SENTENCE_END.split(SENTIMENT.sub("", text).strip(), maxsplit=1)[0][:HEADLINE_CHARS].strip()
    return f"{sentence} (sentiment: {tag.group(1).lower()})" if tag else sentence


def _num_gaps(prices: pl.DataFrame, calendar: str) -> int:
    """Sessions between the first price and the last that have none."""
    return exchange_sessions(calendar, prices["session"][0], prices["session"][-1]).height - prices.height


def _news_table(articles: list[tuple[date, str, str, str]], symbol: str, calendar: str, date_only: str) -> pl.DataFrame:
    days = pl.Series("day", [day for day, *_ in articles], dtype=pl.Date)
    return pl.DataFrame(
        {
            "symbol": pl.repeat(symbol, len(articles), eager=True, dtype=pl.String),
            "published_at": days.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
            "available_at": available_from_date(days, calendar, date_only),
            "headline": pl.Series([headline for _, headline, _, _ in articles], dtype=pl.String),
            "body": pl.Series([text for _, _, text, _ in articles], dtype=pl.String),
            "source": pl.Series([source for *_, source in articles], dtype=pl.String),
            "url": pl.repeat(None, len(articles), eager=True, dtype=pl.String),
        },
        schema=NEWS,
    )
