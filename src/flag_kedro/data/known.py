"""The tables of a source as they were at a time: without what became known later."""

from dataclasses import replace
from datetime import date, datetime, timedelta

import polars as pl

from flag_kedro.data.source import Raw


def known_by(table: pl.DataFrame, time: datetime) -> pl.DataFrame:
    """Rows of prices or news that were known; those without a time count as known, for validation to judge."""
    known = pl.col("available_at") <= time
    return table.filter(known.fill_null(value=True))


def universe_by(universe: pl.DataFrame, time: datetime) -> pl.DataFrame:
    """The universe as it was at a session's close: who joins later is not there, a later end or delisting not known."""
    day = day_of(time)
    joined = universe.filter(pl.col("first").is_null() | (pl.col("first") <= day))
    return joined.with_columns(
        pl.when(pl.col(name) <= day).then(pl.col(name)).alias(name) for name in ("last", "delisted")
    )


def day_of(close: datetime) -> date:
    """The day that a close ends; where sessions end with the day (24/7) that is the day before."""
    return (close - timedelta(microseconds=1)).date()


def source_by(raw: Raw, time: datetime) -> Raw:
    """The tables of a source as they were at a time; rows it could not read, and names, carry none and stay."""
    return replace(raw, prices=known_by(raw.prices, time), news=known_by(raw.news, time))
