"""From `data.source` to the two validated tables."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.data.calendar import regular_calendar, sessions_by_symbol
from flag_kedro.data.config import MAX_JUMP, DataConfig, NewsConfig
from flag_kedro.data.duplicates import count_articles, merge_duplicates
from flag_kedro.data.exchanges import symbol_calendar
from flag_kedro.data.files import FilesConfig, read_files
from flag_kedro.data.files.news import read_news
from flag_kedro.data.headlines import COMPANIES
from flag_kedro.data.investorbench import read_folder
from flag_kedro.data.known import source_by, universe_by
from flag_kedro.data.report import DataReport, describe_data
from flag_kedro.data.rules import PriceRules
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.data.source import Names, Raw
from flag_kedro.data.universe import read_universe, survivorship_warning, universe_symbols
from flag_kedro.data.validation import ValidatedTables, refuse_most_left_out, validate
from flag_kedro.data.yahoo import YahooConfig, read_yahoo
from flag_kedro.errors import ParameterError

DEFAULT_MAX_GAP = {"investorbench": 1}
"""Sessions in a row that a source is known to lack here and there, where `data.max_gap` is null."""


@dataclass(frozen=True)
class Market:
    """Validated prices and news of the chosen source, with what ingest reports of them."""

    prices: pl.DataFrame
    """Columns of `schema.PRICES`, ordered by symbol and session."""
    news: pl.DataFrame
    """Columns of `schema.NEWS`, ordered by symbol and `available_at`."""
    names: Names
    """What articles call each symbol."""
    rejected: pl.DataFrame
    """Rows that were left out because the user asked for it (`data.quarantine`): columns of `validation.REJECTED`."""
    universe: pl.DataFrame
    """Columns of `universe.UNIVERSE`; no row without a universe."""
    report: DataReport
    """Facts of the data, and what the user should be warned of."""


@dataclass(frozen=True)
class MarketConfig:
    """Parameters of the market's source."""

    data: DataConfig
    news: NewsConfig
    simulated: SimulatedConfig
    files: FilesConfig = field(default_factory=FilesConfig)
    yahoo: YahooConfig = field(default_factory=YahooConfig)


def load_market(config: MarketConfig, store: Path, now: datetime, until: datetime | None = None) -> Market:
    """Read or simulate the market and check it.

    Args:
        config: parameters.
        store: folder of the source's downloads, where it has one.
        now: time of the run (UTC); nothing later can have happened.
        until: leave out what became known later, as if it were then; None leaves nothing out.

    Raises:
        DataError: when the source lacks something or breaks a rule.
        ParameterError: when a parameter does not fit the source, or names what it does not have.
    """
    universe = read_universe(config.data.universe)
    universe = universe if until is None else universe_by(universe, until)
    chosen = config.data.symbols
    if chosen is None and not universe.is_empty():
        config = replace(config, data=replace(config.data, symbols=universe_symbols(universe)))
    data = config.data
    raw = read_source(config, store, now)
    if until is not None:
        raw, now = source_by(raw, until), until
        data = _known_calendars(data, raw)
    expect = partial(expected_sessions, data=data, universe=universe)
    validated = validate(raw.prices, raw.news, price_rules(raw.prices, data, expect, now), quarantine=data.quarantine)
    validated = replace(validated, rejected=pl.concat([raw.rejected, validated.rejected]))
    refuse_most_left_out(validated, data.max_left_out)
    validated, articles = _merge_duplicates(validated, raw, config)
    due = expect(validated.prices).filter(pl.col("closes_at") <= now)
    report = describe_data(validated, due, raw.report | articles)
    report = replace(report, warnings=[*raw.warnings, *report.warnings])
    first = validated.prices["session"].min()
    assert isinstance(first, date)
    if data.source != "simulated" and (survivors := survivorship(chosen, data, universe, first)):
        report = replace(report, warnings=[survivors, *report.warnings])
    return Market(validated.prices, validated.news, raw.names, validated.rejected, universe, report)


def price_rules(
    prices: pl.DataFrame, data: DataConfig, expect: Callable[[pl.DataFrame], pl.DataFrame], now: datetime
) -> PriceRules:
    """The rules for `prices`, by the parameters.

    Args:
        prices: with `symbol`.
        data: parameters.
        expect: as `PriceRules.expect`.
        now: time of the run (UTC).
    """
    gap = DEFAULT_MAX_GAP.get(data.source, 0) if data.max_gap is None else data.max_gap
    symbols = prices["symbol"].drop_nulls().unique(maintain_order=True)
    calendars = {symbol: symbol_calendar(symbol, data) for symbol in symbols}
    jumps = {symbol: data.largest_jump(symbol) for symbol in symbols}
    return PriceRules(expect, now, dict.fromkeys(symbols, gap), MAX_JUMP, jumps, calendars)


def _known_calendars(data: DataConfig, raw: Raw) -> DataConfig:
    """Without calendars of symbols that have no price yet."""
    if not isinstance(data.calendar, dict):
        return data
    symbols = set(raw.prices["symbol"])
    return replace(data, calendar={name: value for name, value in data.calendar.items() if name in symbols})


def _merge_duplicates(
    validated: ValidatedTables, raw: Raw, config: MarketConfig
) -> tuple[ValidatedTables, dict[str, Any]]:
    """The tables with near-duplicates merged, and counts of articles."""
    if config.data.source == "simulated" and config.news.source == "own":
        return validated, {}  # its headlines are distinct events, however alike they read
    calendar_of = partial(symbol_calendar, data=config.data)
    distinct, merged = merge_duplicates(validated.news, calendar_of, config.news.duplicate_sessions)
    return replace(validated, news=distinct), {"articles": count_articles(raw.news, distinct, merged)}


def read_source(config: MarketConfig, store: Path, now: datetime) -> Raw:
    """Prices of `data.source` and news of `news.source`, not validated.

    Args:
        config: parameters.
        store: folder of the source's downloads, where it has one.
        now: time of the run (UTC).

    Raises:
        DataError: when the source cannot be read.
        ParameterError: when a parameter does not fit the source, or names what it does not have.
    """
    data, news = config.data, config.news
    raw = _read_price_source(config, store, now)
    if news.source == "own":
        return raw
    calendar_of = partial(symbol_calendar, data=data)
    symbols = set(raw.prices["symbol"].drop_nulls().unique())
    read = read_news(news, symbols, calendar_of, quarantine=data.quarantine, max_left_out=data.max_left_out)
    return replace(
        raw,
        news=read.table,
        rejected=pl.concat([raw.rejected, read.rejected]),
        report=raw.report | {"news": read.facts},
        warnings=[*raw.warnings, *read.warnings],
    )


def _read_price_source(config: MarketConfig, store: Path, now: datetime) -> Raw:
    """Prices of `data.source`, and the articles that come with them."""
    data, news = config.data, config.news
    match data.source:
        case "simulated":
            market = simulate_market(data.symbols, config.simulated, data.seed)
            names = {symbol: (COMPANIES[symbol],) for symbol in market.prices["symbol"].unique(maintain_order=True)}
            return Raw(market.prices, market.news, names)
        case "investorbench":
            return read_folder(data, news, partial(symbol_calendar, data=data))
        case "files":
            return read_files(data, config.files, partial(symbol_calendar, data=data))
        case "yahoo":
            return read_yahoo(data, news, config.yahoo, store, now)


def expected_sessions(prices: pl.DataFrame, data: DataConfig, universe: pl.DataFrame) -> pl.DataFrame:
    """Sessions that each symbol should have: from its first price to its last, or to its delisting.

    Args:
        prices: `symbol` and `session`.
        data: parameters, of which the source and the calendar count.
        universe: columns of `universe.UNIVERSE`.

    Returns:
        `symbol`, `session`, `opens_at`, `closes_at` (UTC), ascending.

    Raises:
        ParameterError: when `data.calendar` names a symbol that is not there or an unknown calendar, or
            `data.extra_sessions` a calendar that no symbol has.
        DataError: when a calendar does not reach as far as the prices.
    """
    if isinstance(data.calendar, dict) and (not_there := set(data.calendar) - set(prices["symbol"].unique())):
        raise ParameterError(f"data.calendar names {' '.join(sorted(not_there))}, which the source does not have")
    spans = (
        prices.drop_nulls(["symbol", "session"])
        .group_by("symbol", maintain_order=True)
        .agg(pl.col("session").min().alias("first"), pl.col("session").max().alias("last"))
    )
    ends = universe.group_by("symbol").agg(pl.col("delisted").max())
    spans = spans.join(ends, on="symbol", how="left", maintain_order="left")
    calendars = pl.Series("calendar", [symbol_calendar(symbol, data) for symbol in spans["symbol"]], dtype=pl.String)
    if unused := set(data.extra_sessions) - {regular_calendar(calendar) for calendar in calendars}:
        raise ParameterError(
            f"data.extra_sessions names {' '.join(sorted(unused))}, on which no symbol trades; the calendars are "
            f"{' '.join(sorted({regular_calendar(calendar) for calendar in calendars}))}"
        )
    return sessions_by_symbol(
        spans.select("symbol", calendars, "first", last=pl.coalesce("delisted", "last")).filter(
            pl.col("first") <= pl.col("last")
        )
    )


def survivorship(chosen: tuple[str, ...] | None, data: DataConfig, universe: pl.DataFrame, first: date) -> str | None:
    """A warning when the symbols of a real market were chosen with knowledge of the test window.

    Args:
        chosen: symbols that a user named, None for all.
        data: parameters.
        universe: columns of `universe.UNIVERSE`.
        first: first session of all prices, where no test window is given.
    """
    test = data.windows.test if data.windows else None
    return survivorship_warning(chosen, universe, data.chosen_on, test[0] if test else first)
