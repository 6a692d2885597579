"""The two tables everything else is built from, and the one check at the door."""

from collections.abc import Mapping

import pandera.polars as pa
import polars as pl

UTC = pl.Datetime("us", "UTC")
Schema = dict[str, pl.DataType | type[pl.DataType]]

PRICES: Schema = {
    "symbol": pl.String,
    "session": pl.Date,
    "open": pl.Float64,
    "high": pl.Float64,
    "low": pl.Float64,
    "close": pl.Float64,
    "volume": pl.Float64,
    "adj_close": pl.Float64,
    "available_at": UTC,
}
NEWS: Schema = {
    "symbol": pl.String,
    "published_at": UTC,
    "available_at": UTC,
    "headline": pl.String,
    "body": pl.String,
    "source": pl.String,
    "url": pl.String,
}
SHOWN = 20
"""Violations listed in one message; the rest are counted."""


class DataError(ValueError):
    """Input a user can mend: the message says where, what was found, what was expected and the way out."""


FINITE = pa.Check(lambda data: data.lazyframe.select(pl.col(data.key).is_finite()), name="finite")


def _positive(*, nullable: bool) -> pa.Column:
    return pa.Column(pl.Float64, [pa.Check.gt(0), FINITE], nullable=nullable)


PRICES_SCHEMA = pa.DataFrameSchema(
    {
        "symbol": pa.Column(pl.String),
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
        "symbol": pa.Column(pl.String),
        "published_at": pa.Column(UTC),
        "available_at": pa.Column(UTC),
        "headline": pa.Column(pl.String, pa.Check.str_matches(r"\s*\S", name="not blank")),
        "body": pa.Column(pl.String, nullable=True),
        "source": pa.Column(pl.String, nullable=True),
        "url": pa.Column(pl.String, nullable=True),
    },
    strict=True,
)


def _column_violations(table: pl.DataFrame, schema: pa.DataFrameSchema, keys: list[str]) -> list[str]:
    """One line for each value or column that breaks `schema`, with the row's keys where there is a row."""
    try:
        schema.validate(table, lazy=True)
    except pa.errors.SchemaErrors as errors:
        lines = []
        for case in errors.failure_cases.iter_rows(named=True):
            row = case["index"]
            known = [] if row is None else [str(table[key][row]) for key in keys if key in table.columns]
            place = " ".join(known) or "table"
            lines.append(f"{place}: {case['column']} is {case['failure_case']}, rule {case['check']}")
        return lines
    return []


def _row_violations(table: pl.DataFrame, broken: pl.Expr, keys: list[str], rule: str) -> list[str]:
    """One line for each row where `broken` holds."""
    rows = table.filter(broken).select(keys).rows()
    return [f"{' '.join(str(key) for key in row)}: {rule}" for row in rows]


def _refuse(name: str, violations: list[str]) -> None:
    if not violations:
        return
    more = f"\n  ... and {len(violations) - SHOWN} more" if len(violations) > SHOWN else ""
    listed = "\n  ".join(violations[:SHOWN])
    raise DataError(
        f"{name}: {len(violations)} violation(s); nothing was written. "
        f"Correct the source and run again.\n  {listed}{more}"
    )


def validate_prices(prices: pl.DataFrame, sessions: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Return `prices` in order once every row is a possible session of its symbol's exchange.

    Args:
        prices: columns of `PRICES`; open, high, low and volume may be null (a source without them).
        sessions: `exchange_sessions` of each symbol, covering its prices.

    Returns:
        The same rows ordered by symbol and session.

    Raises:
        DataError: listing every violation at once with symbol, session, value and rule.
    """
    keys = ["symbol", "session"]
    violations = _column_violations(prices, PRICES_SCHEMA, keys)
    if dict(prices.schema) == PRICES:
        keyed = prices.drop_nulls(keys)
        violations += _row_violations(keyed, pl.struct(keys).is_duplicated(), keys, "the session appears twice")
        body_high, body_low = pl.max_horizontal("open", "close"), pl.min_horizontal("open", "close")
        violations += _row_violations(keyed, pl.col("high") < body_high, keys, "high is below open or close")
        violations += _row_violations(keyed, pl.col("low") > body_low, keys, "low is above open or close")
        for (symbol,), own in keyed.group_by("symbol", maintain_order=True):
            violations += _calendar_violations(own, sessions[str(symbol)])
    _refuse("prices", violations)
    return prices.sort(keys)


def _calendar_violations(own: pl.DataFrame, sessions: pl.DataFrame) -> list[str]:
    keys = ["symbol", "session"]
    joined = own.join(sessions, on="session", how="left")
    lines = _row_violations(joined, pl.col("closes_at").is_null(), keys, "is no session of the symbol's calendar")
    lines += _row_violations(
        joined, pl.col("available_at") != pl.col("closes_at"), keys, "available_at is not the session's close"
    )
    inside = sessions.filter(pl.col("session").is_between(own["session"].min(), own["session"].max()))
    missing = inside.join(own, on="session", how="anti")
    return lines + [f"{own['symbol'][0]} {day}: a session without a price" for day in missing["session"]]


def validate_news(news: pl.DataFrame) -> pl.DataFrame:
    """Return `news` in order of symbol and `available_at` once every article has a text and sound times.

    Raises:
        DataError: listing every violation at once.
    """
    keys = ["symbol", "published_at"]
    violations = _column_violations(news, NEWS_SCHEMA, keys)
    if dict(news.schema) == NEWS:
        early = pl.col("available_at") < pl.col("published_at")
        violations += _row_violations(news, early, keys, "available_at lies before published_at")
    _refuse("news", violations)
    return news.sort("symbol", "available_at", "published_at", "headline")
