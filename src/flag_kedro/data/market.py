"""From `data.source` to the two validated tables."""

import polars as pl

from flag_kedro.data.calendar import exchange_sessions
from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.investorbench import default_calendar, existing_folder, find_symbols, read_investorbench
from flag_kedro.data.schema import DataError, validate_news, validate_prices
from flag_kedro.data.simulated import CALENDAR, SimulatedConfig, simulate_market


def load_market(data: DataConfig, news: NewsConfig, simulated: SimulatedConfig) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read or simulate the market and check it.

    Returns:
        The prices and the news table (`schema.PRICES`, `schema.NEWS`), in order.

    Raises:
        DataError: when the source lacks something or breaks a rule.
    """
    if data.source == "simulated":
        market = simulate_market(data.symbols, simulated, data.seed)
        prices, articles = market.prices, market.news
    else:
        prices, articles = _read_files(data, news)
    return validate_prices(prices, _calendars(prices, data)), validate_news(articles)


def symbol_calendar(symbol: str, data: DataConfig) -> str:
    """Exchange calendar of `symbol`: `data.calendar` where it says so, else the source's own."""
    if isinstance(data.calendar, str):
        return data.calendar
    if data.calendar and symbol in data.calendar:
        return data.calendar[symbol]
    return CALENDAR if data.source == "simulated" else default_calendar(symbol)


def _calendars(prices: pl.DataFrame, data: DataConfig) -> dict[str, pl.DataFrame]:
    if isinstance(data.calendar, dict) and (strangers := set(data.calendar) - set(prices["symbol"].unique())):
        raise DataError(f"data.calendar names {' '.join(sorted(strangers))}, which the source does not have")
    spans = prices.group_by("symbol").agg(pl.col("session").min().alias("first"), pl.col("session").max().alias("last"))
    return {
        symbol: exchange_sessions(symbol_calendar(symbol, data), first, last)
        for symbol, first, last in spans.iter_rows()
    }


def _read_files(data: DataConfig, news: NewsConfig) -> tuple[pl.DataFrame, pl.DataFrame]:
    assert data.path is not None  # DataConfig requires it for this source
    folder = existing_folder(data.path)
    symbols = data.symbols or find_symbols(folder)
    tables = [read_investorbench(folder, symbol, symbol_calendar(symbol, data), news.date_only) for symbol in symbols]
    return pl.concat([prices for prices, _ in tables]), pl.concat([articles for _, articles in tables])
