"""What each column of the two tables may hold.

In a file of its own because pandera takes long to import: who only names the rules does without.
"""

import pandera.polars as pa
import polars as pl

from flag_kedro.data.schema import SYMBOL_PATTERN, UTC

MAX_HEADLINE, MAX_BODY = 10_000, 1_000_000

SYMBOL = pa.Check.str_matches(SYMBOL_PATTERN, name="capitals, digits and .^=&_-")
FINITE = pa.Check(lambda data: data.lazyframe.select(pl.col(data.key).is_finite()), name="finite")


def _positive(*, nullable: bool) -> pa.Column:
    return pa.Column(pl.Float64, [pa.Check.gt(0), FINITE], nullable=nullable)


def _text(most: int) -> pa.Column:
    return pa.Column(pl.String, pa.Check.str_length(max_value=most), nullable=True)


PRICES_SCHEMA = pa.DataFrameSchema(
    {
        "symbol": pa.Column(pl.String, SYMBOL),
        "session": pa.Column(pl.Date),
        "open": _positive(nullable=True),
        "high": _positive(nullable=True),
        "low": _positive(nullable=True),
        "close": _positive(nullable=False),
        "volume": pa.Column(pl.Float64, [pa.Check.ge(0), FINITE], nullable=True),
        "adj_close": _positive(nullable=False),
        "available_at": pa.Column(UTC),
    },
    strict=True,
)
NEWS_SCHEMA = pa.DataFrameSchema(
    {
        "symbol": pa.Column(pl.String, SYMBOL),
        "published_at": pa.Column(UTC),
        "available_at": pa.Column(UTC),
        "headline": pa.Column(
            pl.String,
            [
                pa.Check(
                    lambda data: data.lazyframe.select(pl.col(data.key).str.contains(r"[\p{L}\p{N}]")),
                    name="a letter or a digit",
                ),
                pa.Check.str_length(max_value=MAX_HEADLINE),
            ],
        ),
        "body": _text(MAX_BODY),
        "source": _text(MAX_HEADLINE),
        "url": _text(MAX_HEADLINE),
    },
    strict=True,
)
