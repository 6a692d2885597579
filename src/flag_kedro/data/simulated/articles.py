"""An article as the simulation knows it, and the tables that are made of many."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from flag_kedro.data.schema import NEWS

SIGN = {"good": 1, "bad": -1}
"""Kinds that move prices, and where to."""
ARTICLES = {"symbol": pl.String, "session": pl.Date, "kind": pl.String, "size": pl.Float64, "level": pl.Int64}
"""Columns of `SimulatedMarket.articles`."""


@dataclass(frozen=True)
class Article:
    """An article as the simulation knows it."""

    day: int
    """Index of the session on whose date it is published."""
    after_close: bool
    published: datetime
    kind: str
    """good, bad, neutral, report, rival, ambiguous, stale, turbulent or settled; only the first two move prices. A
    report says again what a good or bad article says, the last two say how much prices will move."""
    headline: str
    size: float
    """Of its effect, relative to the mean; 0 where it moves nothing."""
    level: int = 0
    """See `sentence.py`."""
    mean_size: float = 1.0
    """The mean of `size` for who has read it; only headlines of a conflict say theirs."""

    @property
    def known(self) -> int:
        """Index of the first session whose decision may use it."""
        return self.day + int(self.after_close)


def news_table(symbol: str, articles: Sequence[Article]) -> pl.DataFrame:
    """Columns of `schema.NEWS`."""
    published = [article.published for article in articles]
    columns = {
        "symbol": symbol,
        "published_at": published,
        "available_at": published,
        "headline": [article.headline for article in articles],
        "body": None,
        "source": "simulated",
        "url": None,
    }
    return pl.DataFrame(columns, schema=NEWS)


def article_table(symbol: str, articles: Sequence[Article], days: pl.Series) -> pl.DataFrame:
    """Columns of `ARTICLES`, row by row what `news_table` has; `days` are the sessions' dates."""
    columns = {
        "symbol": symbol,
        "session": days.gather([article.day for article in articles]),
        "kind": [article.kind for article in articles],
        "size": [article.size for article in articles],
        "level": [article.level for article in articles],
    }
    return pl.DataFrame(columns, schema=ARTICLES)
