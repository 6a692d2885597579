"""Daily prices and recent headlines from Yahoo, downloaded into a store and read from it."""

import re
from dataclasses import asdict
from dataclasses import dataclass as plain_dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import polars as pl
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.exchanges import symbol_calendar
from flag_kedro.data.schema import NEWS, PRICES
from flag_kedro.data.source import Raw
from flag_kedro.data.universe import read_universe, universe_symbols
from flag_kedro.data.yahoo.revisions import RevisionReport
from flag_kedro.data.yahoo.store import YahooStore, load_store, locked_store
from flag_kedro.data.yahoo.wanted import LATE, Wanted, lacks_news, lacks_prices
from flag_kedro.errors import DataError, ParameterError

if TYPE_CHECKING:
    from flag_kedro.data.yahoo.session import Patience
SYMBOL = re.compile(r"[A-Z0-9^][A-Z0-9.^=&_-]*")
"""What Yahoo's symbols are made of, and what is safe as a file name."""
ISIN = re.compile(r"[A-Z]{2}[A-Z0-9]{9}[0-9]")


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class YahooConfig:
    """What is downloaded, and how gently."""

    first: date = date(2015, 1, 1)
    """First session to have."""
    last: date | None = None
    """Last session to have; null means the last one that has closed."""
    offline: bool = False
    """Use what the store has and ask for nothing."""
    requests_per_second: Annotated[float, Field(gt=0.0)] = 1.0
    """Upper limit; Yahoo throttles those who ask faster."""
    attempts: Annotated[int, Field(ge=1)] = 6
    """How often one question is asked before giving up, waiting exponentially longer in between."""
    timeout: Annotated[float, Field(gt=0.0)] = 20.0
    """Seconds to wait for an answer."""
    base_url: str | None = None
    """Server to ask instead of Yahoo's, such as a mirror or a test's."""

    def __post_init__(self) -> None:
        if self.last is not None and self.last < self.first:
            raise ValueError(f"yahoo.last is {self.last}, before yahoo.first, {self.first}")
        if self.base_url is not None:
            parts = urlsplit(self.base_url)
            if parts.scheme not in ("http", "https") or not parts.netloc:
                raise ValueError(f"yahoo.base_url must be like https://mirror.example; got {self.base_url!r}")


@plain_dataclass(frozen=True)
class SymbolDownload:
    """What a download added to the store of one symbol."""

    rows_added: int = 0
    """Sessions with prices."""
    revision: RevisionReport | None = None
    news_added: int = 0
    """Articles."""


@plain_dataclass(frozen=True)
class DownloadReport:
    """What a download did; its fields in this order are the report's JSON."""

    num_requests: int
    symbols: dict[str, SymbolDownload]


def download_market(
    data: DataConfig,
    news: NewsConfig,
    yahoo: YahooConfig,
    store: Path,
    now: datetime,
    patience: "Patience | None" = None,
) -> dict[str, Any]:
    """Bring the store up to date and return what was done; another source has no store.

    Only what is missing is asked for. A symbol that fails does not keep the others from being stored.

    Args:
        data: which symbols.
        news: whether Yahoo's headlines are wanted.
        yahoo: how to ask.
        store: folder of the store, made if absent.
        now: time of the run (UTC); sessions that close later are not taken.
        patience: the clock, where a test wants its own.

    Returns:
        `num_requests` and by symbol `rows_added`, `revision` and `news_added`, fit for JSON.

    Raises:
        DataError: naming every symbol that could not be had and why; what could is stored.
        ParameterError: when a symbol is none of Yahoo's, or, with `yahoo.offline`, no session is asked for.
    """
    if data.source != "yahoo":
        return {}
    wanted = _wanted(data, yahoo, now)
    if yahoo.offline:
        _require(load_store(store), wanted, LATE)
        return asdict(DownloadReport(0, {}))
    with locked_store(store) as locked:
        return asdict(_update(locked, wanted, news.source == "own", yahoo, patience))


def read_yahoo(data: DataConfig, news: NewsConfig, yahoo: YahooConfig, store: Path, now: datetime) -> Raw:
    """Read the sessions from `yahoo.first` to `yahoo.last` from the store; nothing is asked.

    Args:
        data: which symbols.
        news: whether Yahoo's headlines are wanted.
        yahoo: which sessions.
        store: folder of the store.
        now: time of the run (UTC).

    Raises:
        DataError: naming every symbol whose sessions are not all there.
        ParameterError: when a symbol is none of Yahoo's, or no session is asked for.
    """
    yahoo_store = load_store(store)
    wanted = _wanted(data, yahoo, now)
    _require(yahoo_store, wanted, LATE + timedelta(hours=1))  # the download began earlier, when more might be late
    prices = {one.symbol: _prices_of(yahoo_store, one) for one in wanted}
    entries = {one.symbol: yahoo_store.entry(one.symbol, "prices") or {} for one in wanted}
    articles = [_news_of(yahoo_store, one.symbol) for one in wanted] if news.source == "own" else []
    return Raw(
        prices=pl.concat(prices.values()),
        news=pl.concat([pl.DataFrame(schema=NEWS), *articles]),
        names={symbol: tuple(entry["names"]) for symbol, entry in entries.items()},
        report={"yahoo": {symbol: _facts_of(table, entries[symbol]) for symbol, table in prices.items()}},
    )


def _wanted(data: DataConfig, yahoo: YahooConfig, now: datetime) -> list[Wanted]:
    universe = read_universe(data.universe)
    symbols = data.symbols or universe_symbols(universe)
    delisted = dict(universe.drop_nulls("delisted").select("symbol", "delisted").iter_rows())
    for symbol in symbols:
        if not SYMBOL.fullmatch(symbol) or ISIN.fullmatch(symbol):
            raise ParameterError(
                f"data.symbols: {symbol!r} is no symbol of Yahoo's such as MSFT, BRK-B, ^GSPC or 7203.T"
            )
    lasts = {symbol: min(filter(None, (yahoo.last, delisted.get(symbol))), default=None) for symbol in symbols}
    return [
        Wanted(symbol, symbol_calendar(symbol, data), yahoo.first, lasts[symbol], now, data.max_gap or 0)
        for symbol in symbols
    ]


def _require(store: YahooStore, wanted: list[Wanted], late: timedelta) -> None:
    """Refuse a store that lacks wanted sessions, saying of every symbol what it has."""
    lines = []
    for one in wanted:
        lack = lacks_prices(store, one, late)
        if lack is not None:
            entry = store.entry(one.symbol, "prices")
            has = f"stored are {entry['rows']} session(s) from {entry['first']} to {entry['last']}; " if entry else ""
            lines.append(f"{one.symbol}: {has}{lack}")
    if lines:
        raise DataError(
            f"yahoo: {store.folder} lacks sessions of {len(lines)} symbol(s); run with yahoo.offline=false to fetch "
            "them, or set yahoo.first and yahoo.last to what is stored\n  " + "\n  ".join(lines)
        )


def _update(
    store: YahooStore, wanted: list[Wanted], with_news: bool, yahoo: YahooConfig, patience: "Patience | None"
) -> DownloadReport:
    from flag_kedro.data.yahoo.client import Unreachable, ask_yahoo
    from flag_kedro.data.yahoo.session import Patience
    from flag_kedro.data.yahoo.update import update_news, update_prices

    downloads: dict[str, SymbolDownload] = {}
    failures: list[str] = []
    with ask_yahoo(
        requests_per_second=yahoo.requests_per_second,
        attempts=yahoo.attempts,
        timeout=yahoo.timeout,
        base_url=yahoo.base_url,
        patience=patience or Patience(),
    ) as client:
        for one in wanted:
            try:
                rows_added, revision, news_added = 0, None, 0
                if lacks_prices(store, one, timedelta(0)) is not None:
                    rows_added, revision = update_prices(client, store, one)
                if with_news and lacks_news(store, one):
                    news_added = update_news(client, store, one)
                downloads[one.symbol] = SymbolDownload(rows_added, revision, news_added)
            except Unreachable as error:
                failures.append(str(error))
                break
            except (DataError, ParameterError) as error:
                failures.append(str(error))
        if failures:
            raise DataError(_failure_message(failures, store.folder))
        return DownloadReport(client.session.num_requests, downloads)


def _failure_message(failures: list[str], folder: Path) -> str:
    return (
        f"yahoo: the download is not complete; what did come is kept in {folder}, and a later run goes on from here\n  "
        + "\n  ".join(failures)
    )


def _prices_of(store: YahooStore, one: Wanted) -> pl.DataFrame:
    table = store.read(one.symbol, "prices")
    assert table is not None  # _require has seen it
    rows = table.filter(pl.col("session").is_between(one.first, one.last or date.max))
    rows = rows.join(one.calendar_since(one.first), on="session", how="left", maintain_order="left")
    off_calendar = rows.filter(pl.col("closes_at").is_null())["session"]
    if len(off_calendar):
        raise DataError(
            f"{one.symbol}: {store.path(one.symbol, 'prices')} has {len(off_calendar)} session(s) that {one.calendar} "
            f"does not have, first {off_calendar[0]}; set data.calendar to what it was when they were downloaded"
        )
    rows = rows.filter(pl.col("closes_at") <= one.now)
    rows = rows.with_columns(symbol=pl.lit(one.symbol), available_at="closes_at")
    return rows.select(pl.col(name).cast(dtype) for name, dtype in PRICES.items())


def _facts_of(prices: pl.DataFrame, entry: dict[str, Any]) -> dict[str, Any]:
    first, last = prices["session"][0], prices["session"][-1]
    facts = {"rows": prices.height, "first": first.isoformat(), "last": last.isoformat()}
    return facts | {name: entry[name] for name in ("sha256", "fetched_at", "currency", "timezone", "revisions")}


def _news_of(store: YahooStore, symbol: str) -> pl.DataFrame:
    table = store.read(symbol, "news")
    if table is None:
        return pl.DataFrame(schema=NEWS)
    articles = table.with_columns(symbol=pl.lit(symbol), available_at="published_at")
    return articles.select(pl.col(name).cast(dtype) for name, dtype in NEWS.items())
