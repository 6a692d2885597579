"""Market states up to a time t hold nothing that became known after t, whatever is done to what did."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from flag_kedro.backtest.corruptions import CORRUPTIONS
from flag_kedro.data.calendar import available_from_date
from flag_kedro.data.schema import NEWS
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.data.table_hash import hash_table
from flag_kedro.data.universe import UNIVERSE
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_state import build_market_states
from flag_kedro.features.market_tables import MarketTables

CONFIG = SimulatedConfig(market="easy", first_session=date(2021, 1, 4), last_session=date(2021, 6, 4))
MARKET = simulate_market(("ALDR", "FJRD"), CONFIG, 0)
PRICE_COLUMNS = ["open", "high", "low", "close", "adj_close", "volume"]

Build = Callable[[pl.DataFrame, pl.DataFrame], dict[str, pl.DataFrame]]


def dated_articles() -> pl.DataFrame:
    """An article a calendar day and symbol that tells its date and no time."""
    days = [CONFIG.first_session + timedelta(days=n) for n in range((CONFIG.last_session - CONFIG.first_session).days)]
    available_at = available_from_date(pl.Series(days), "XNYS", "next_session")
    rows = [
        {
            "symbol": symbol,
            "published_at": datetime.combine(day, datetime.min.time(), UTC),
            "available_at": available,
            "headline": f"Dated {day} of {symbol}",
            "body": None,
            "source": None,
            "url": None,
        }
        for symbol in ("ALDR", "FJRD")
        for day, available in zip(days, available_at, strict=True)
    ]
    return pl.DataFrame(rows, schema=NEWS)


def number(news: pl.DataFrame) -> pl.DataFrame:
    """No two headlines are alike, so that a swap of two shows."""
    return news.with_columns(pl.format("{} ({})", "headline", pl.int_range(pl.len())).alias("headline"))


ORDER = ("symbol", "available_at", "published_at", "headline")
NEWS_TABLE = number(pl.concat([MARKET.news, dated_articles()]).sort(ORDER))


def build(prices: pl.DataFrame, news: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return build_market_states(
        prices, news, names={"ALDR": ("Alder Foods",)}, digest_sessions=3, digest_chars=300, article_chars=100
    )[0]


def build_with_next_prices(prices: pl.DataFrame, news: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """A leak: the numbers of every session are those of the next."""
    next_ = pl.col(PRICE_COLUMNS).shift(-1).over("symbol")
    return build(prices.with_columns(next_.fill_null(pl.col(PRICE_COLUMNS))), news)


def build_with_next_news(prices: pl.DataFrame, news: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """A leak: an article is shown a session too early."""
    closes = prices.filter(pl.col("symbol") == "ALDR").select(
        "available_at", earlier=pl.col("available_at").shift(1).fill_null(pl.col("available_at"))
    )
    early = news.join_asof(closes, on="available_at", strategy="forward", coalesce=False, check_sortedness=False)
    return build(prices, news.with_columns(available_at=early["earlier"].fill_null(news["available_at"])))


HONEST = build(MARKET.prices, NEWS_TABLE)
DECIDED_AT = HONEST["ALDR"]["decided_at"]
PLACES = 1 + np.random.default_rng(0).choice(len(DECIDED_AT) - 4, 30, replace=False)
TIMES = [DECIDED_AT[int(place)] for place in PLACES]


def bytes_up_to(states: dict[str, pl.DataFrame], time: datetime) -> list[bytes]:
    return [hash_table(table.filter(pl.col("decided_at") <= time)) for table in states.values()]


def differs_by(build: Build, name: str, times: list[datetime]) -> Iterator[tuple[datetime, bool]]:
    """For each of `times` whether what was knowable at it changes when everything later is corrupted."""
    tables = MarketTables(MARKET.prices, NEWS_TABLE, {}, pl.DataFrame(schema=UNIVERSE), FeaturesConfig())
    honest = build(MARKET.prices, NEWS_TABLE)
    for time in times:
        changed = CORRUPTIONS[name](tables, time, np.random.default_rng(0))
        states = build(changed.prices, changed.news)
        yield time, bytes_up_to(states, time) != bytes_up_to(honest, time)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_states_up_to_a_time_do_not_depend_on_what_became_known_later(name):
    assert [time for time, differs in differs_by(build, name, TIMES) if differs] == []


@pytest.mark.parametrize(
    ("leaky", "name"),
    [
        *((build_with_next_prices, name) for name in CORRUPTIONS),
        *((build_with_next_news, name) for name in CORRUPTIONS),
    ],
)
def test_planted_leak_is_caught_at_every_time(leaky, name):
    assert [time for time, differs in differs_by(leaky, name, TIMES[:10]) if not differs] == []


def test_article_dated_on_a_day_is_first_shown_by_the_next_sessions_decision():
    """A decision shows, newest first, the days from the session before it to the day before it."""
    states, _ = build_market_states(
        MARKET.prices, dated_articles(), digest_sessions=1, digest_chars=600, article_chars=100
    )
    for symbol, table in states.items():
        for before, session, text in zip(table["session"], table["session"][1:], table["news_text"][1:], strict=False):
            days = [session - timedelta(days=n) for n in range(1, (session - before).days + 1)]
            assert sorted(text.split("\n")) == sorted(f"- Dated {day} of {symbol}" for day in days)
