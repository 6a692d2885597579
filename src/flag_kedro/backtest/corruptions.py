"""What became known after a time, changed in every table that is read, so that whatever depends on it shows.

Prices and news carry the time at which they became known, the universe carries days. Names carry no time and count as
known.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl

from flag_kedro.data.known import day_of, known_by, universe_by
from flag_kedro.env.account import Ints
from flag_kedro.features.market_tables import MarketTables

PRICES = ("open", "high", "low", "close", "adj_close")
TEXTS = ("headline", "body", "source", "url")
ARTICLE_ORDER = ("symbol", "available_at")
RESCALED, MOVED_DAYS, EARLY_CLOSE_HOURS = 10.0, 30, 3

Corruption = Callable[[MarketTables, datetime, np.random.Generator], MarketTables]
"""From tables and a time to tables that differ in what became known after it only. Columns and types stay, and prices
stay within high and low; sessions need not be those of an exchange."""


def delete_later(tables: MarketTables, after: datetime, rng: np.random.Generator) -> MarketTables:
    """Leave out every row known after a time: the tables as they were then.

    Symbols without enough sessions for two states so far are left out; names are all known, since they carry no time.
    In the universe, who joined later is not there, and a later last day or delisting is not known.
    """
    prices = known_by(tables.prices, after)
    prices = prices.filter(pl.len().over("symbol") >= tables.features.num_unseen + 2)
    universe = universe_by(tables.universe, after)
    return replace(tables, prices=prices, news=known_by(tables.news, after), universe=universe)


def insert_and_move_later(tables: MarketTables, after: datetime, rng: np.random.Generator) -> MarketTables:
    """Rescale later prices and volumes, insert sessions and articles, and move sessions, closes, articles and days."""
    day = pl.lit(day_of(after))
    moved = (
        pl.when(pl.col(name) > day).then(pl.col(name).dt.offset_by(f"{MOVED_DAYS}d")).otherwise(pl.col(name))
        for name in ("first", "last", "delisted")
    )
    return replace(
        tables,
        prices=_move_sessions(_insert_sessions(_rescale(tables.prices, after, rng), after), after, rng),
        news=_move_articles(_insert_articles(tables.news, after, rng), after, rng),
        universe=tables.universe.with_columns(*moved),
    )


def rearrange_later(tables: MarketTables, after: datetime, rng: np.random.Generator) -> MarketTables:
    """Reverse later prices and volumes of each symbol in time, and deal later articles out among days and symbols."""
    source = np.arange(tables.prices.height)
    for symbol in tables.prices["symbol"].unique(maintain_order=True):
        rows = _rows((tables.prices["symbol"] == symbol) & (tables.prices["available_at"] > after))
        source[rows] = rows[::-1]
    reversed_prices = (tables.prices[name][source] for name in (*PRICES, "volume"))
    return replace(
        tables,
        prices=tables.prices.with_columns(*reversed_prices),
        news=_with_texts_of_others(tables.news, after, rng.permutation),
    )


CORRUPTIONS: Mapping[str, Corruption] = {
    "deleted": delete_later,
    "inserted, moved and rescaled": insert_and_move_later,
    "reversed and dealt anew": rearrange_later,
}
"""By what is done to the rows that became known later."""


def split_later(tables: MarketTables) -> MarketTables:
    """The tables as a later split of two shares for one would adjust them: half of each adjusted price, everywhere.

    Back-adjusted levels tell of splits and dividends to come, so no text may show one. Half is exact in binary.
    """
    return replace(tables, prices=tables.prices.with_columns(pl.col("adj_close") * 0.5))


def split_in_source(tables: MarketTables) -> MarketTables:
    """The same of a source that adjusts prices and volumes themselves for splits, as Yahoo does."""
    halves = (pl.col(name) * 0.5 for name in PRICES)
    return replace(tables, prices=tables.prices.with_columns(*halves, pl.col("volume") * 2.0))


SPLITS: tuple[Callable[[MarketTables], MarketTables], ...] = (split_later, split_in_source)


def _rescale(prices: pl.DataFrame, after: datetime, rng: np.random.Generator) -> pl.DataFrame:
    """Multiply later prices, and later volumes, by a factor of each row's own, around ten."""
    later = pl.col("available_at") > after
    price, volume = (pl.Series(RESCALED * np.exp(0.5 * rng.standard_normal(prices.height))) for _ in range(2))
    return prices.with_columns(
        *(pl.when(later).then(pl.col(name) * price).otherwise(pl.col(name)) for name in PRICES),
        pl.when(later).then(pl.col("volume") * volume).otherwise(pl.col("volume")),
    )


def _insert_sessions(prices: pl.DataFrame, after: datetime) -> pl.DataFrame:
    """Insert a session, with the prices of the one before, on the first day of each later closure of the exchange."""
    ordered = prices.sort("symbol", "session", maintain_order=True)
    next_session = pl.col("session").shift(-1).over("symbol")
    next_day = pl.col("session", "available_at").dt.offset_by("1d")
    closed = (pl.col("available_at") > after) & (next_session > pl.col("session").dt.offset_by("1d"))
    return pl.concat([ordered, ordered.filter(closed).with_columns(next_day)]).sort("symbol", "session")


def _move_sessions(prices: pl.DataFrame, after: datetime, rng: np.random.Generator) -> pl.DataFrame:
    """Move later sessions by a day; half of them close early."""
    later, early = pl.col("available_at") > after, pl.Series(rng.random(prices.height) < 0.5)
    closes = pl.col("available_at").dt.offset_by("1d")
    closes = pl.when(early).then(closes.dt.offset_by(f"-{EARLY_CLOSE_HOURS}h")).otherwise(closes)
    return prices.with_columns(
        session=pl.when(later).then(pl.col("session").dt.offset_by("1d")).otherwise(pl.col("session")),
        available_at=pl.when(later).then(closes).otherwise(pl.col("available_at")),
    )


def _insert_articles(news: pl.DataFrame, after: datetime, rng: np.random.Generator) -> pl.DataFrame:
    """Insert as many later articles again, with texts of others."""
    later = news.filter(pl.col("available_at") > after)
    return pl.concat([news, _with_texts_of_others(later, after, rng.permutation)])


def _move_articles(news: pl.DataFrame, after: datetime, rng: np.random.Generator) -> pl.DataFrame:
    """Move later articles to between the time, exclusive, and twice as long after it."""
    waited = (pl.col("available_at") - pl.lit(after)).dt.total_microseconds()
    moved = (waited * pl.Series(2.0 * rng.random(news.height))).cast(pl.Int64).clip(lower_bound=1)
    later = pl.col("available_at") > after
    times = {name: pl.col(name) + pl.duration(microseconds=moved - waited) for name in ("published_at", "available_at")}
    columns = (pl.when(later).then(time).otherwise(pl.col(name)).alias(name) for name, time in times.items())
    return news.with_columns(*columns).sort(ARTICLE_ORDER, maintain_order=True)


def _with_texts_of_others(news: pl.DataFrame, after: datetime, choose: Callable[[Ints], Ints]) -> pl.DataFrame:
    """Give later articles the texts of those that `choose` takes among them."""
    source, rows = np.arange(news.height), _rows(news["available_at"] > after)
    source[rows] = choose(rows)
    return news.with_columns(news[name][source] for name in TEXTS)


def _rows(mask: pl.Series) -> Ints:
    return np.flatnonzero(mask.to_numpy())
