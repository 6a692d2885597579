"""The two tables everything else is built from: their columns and types."""

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
"""Prices in one currency a symbol, per share; volume in shares; open, high, low and volume null where a source has
none. `adj_close` / `close` is the factor that adjusts for splits and dividends; `available_at` the session's close."""
NEWS: Schema = {
    "symbol": pl.String,
    "published_at": UTC,
    "available_at": UTC,
    "headline": pl.String,
    "body": pl.String,
    "source": pl.String,
    "url": pl.String,
}
"""One article a row; body, source and url may be null."""

SYMBOL_PATTERN = r"^[A-Z0-9^][A-Z0-9.^=&_-]*$"
"""What a symbol is made of, and what is safe as a file's name."""

SHOWN = 20
"""Lines listed in one message; the rest are counted."""
