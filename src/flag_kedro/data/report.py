"""The data report: coverage of prices and news by symbol, and warnings."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from flag_kedro.data.validation import ValidatedTables

STALE_SESSIONS = 20
"""Sessions without an article at the end of a symbol's prices, beyond which its news count as stale."""


STILL_SESSIONS = 10
"""Sessions in a row with the same close, beyond which a symbol counts as halted."""


@dataclass(frozen=True)
class SymbolCoverage:
    """Prices and articles of one symbol; dates are ISO texts."""

    first: str
    """First session with a price."""
    last: str
    """Last session with a price."""
    num_sessions: int
    """Sessions with a price."""
    num_gaps: int
    """Sessions without a price between the first and the last."""
    num_articles: int
    share_with_news: float
    """Share of sessions on whose date an article was published, rounded to 4 digits."""
    last_article: str | None
    """Date of the newest article (UTC), None without any."""
    sessions_since_news: int | None
    """Sessions with a price after that date, None without any article."""


@dataclass(frozen=True)
class DataReport:
    """What a user should know of the data before a backtest; its fields in this order are the report's JSON."""

    symbols: dict[str, SymbolCoverage]
    num_rejected: dict[str, int]
    """Rows left out, by rule."""
    warnings: list[str]
    source: dict[str, Any]
    """Facts of the sources, fit for JSON."""


def describe_data(validated: ValidatedTables, expected: pl.DataFrame, source: dict[str, Any]) -> DataReport:
    """Coverage of every symbol, and warnings of gaps and of missing or stale news.

    Args:
        validated: prices, news and rejected rows.
        expected: `symbol` and `session` of every session there should be.
        source: facts of the sources, fit for JSON.
    """
    coverage = _coverage(validated, expected)
    rejected = dict(validated.rejected.group_by("rule", maintain_order=True).len().iter_rows())
    return DataReport(coverage, rejected, [*coverage_warnings(coverage, rejected), *halts(validated.prices)], source)


def _coverage(validated: ValidatedTables, expected: pl.DataFrame) -> dict[str, SymbolCoverage]:
    news = validated.news.select("symbol", session=pl.col("published_at").dt.date(), article=pl.lit(True))
    articles = news.group_by("symbol").agg(
        pl.len().alias("num_articles"), pl.col("session").max().alias("last_article")
    )
    days = validated.prices.select("symbol", "session").join(
        news.unique(["symbol", "session"]), on=["symbol", "session"], how="left", maintain_order="left"
    )
    covered = days.group_by("symbol", maintain_order=True).agg(
        pl.col("session").min().alias("first"),
        pl.col("session").max().alias("last"),
        pl.len().alias("num_sessions"),
        pl.col("article").is_not_null().mean().round(4).alias("share_with_news"),
    )
    due = expected.group_by("symbol").agg(pl.len().alias("num_expected"))
    since = days.join(articles, on="symbol", how="left").filter(pl.col("session") > pl.col("last_article"))
    table = (
        covered.join(due, on="symbol", how="left", maintain_order="left")
        .join(articles, on="symbol", how="left", maintain_order="left")
        .join(
            since.group_by("symbol").agg(pl.len().alias("sessions_since_news")),
            on="symbol",
            how="left",
            maintain_order="left",
        )
    )
    return {
        row["symbol"]: SymbolCoverage(
            first=row["first"].isoformat(),
            last=row["last"].isoformat(),
            num_sessions=row["num_sessions"],
            num_gaps=row["num_expected"] - row["num_sessions"],
            num_articles=row["num_articles"] or 0,
            share_with_news=row["share_with_news"],
            last_article=row["last_article"].isoformat() if row["last_article"] else None,
            sessions_since_news=(row["sessions_since_news"] or 0) if row["last_article"] else None,
        )
        for row in table.iter_rows(named=True)
    }


def coverage_warnings(coverage: dict[str, SymbolCoverage], rejected: dict[str, int]) -> list[str]:
    """One line for each thing that is allowed but that a user should know."""
    gaps = {symbol: facts.num_gaps for symbol, facts in coverage.items() if facts.num_gaps}
    silent = [symbol for symbol, facts in coverage.items() if not facts.num_articles]
    stale = {symbol: facts for symbol, facts in coverage.items() if (facts.sessions_since_news or 0) > STALE_SESSIONS}
    lines = [f"{symbol}: {num} session(s) without a price are skipped" for symbol, num in gaps.items()]
    lines += [
        f"{symbol}: news end on {facts.last_article}, {facts.sessions_since_news} sessions before the prices do"
        for symbol, facts in stale.items()
    ]
    if silent:
        lines.append(f"no article at all for {' '.join(silent)}")
    lines += [f"{num} row(s) left out: {rule}" for rule, num in rejected.items()]
    return lines


def halts(prices: pl.DataFrame) -> list[str]:
    """One line for each symbol whose close stood still for long, with its longest stretch."""
    runs = prices.with_columns(run=pl.col("close").rle_id().over("symbol")).group_by(
        "symbol", "run", maintain_order=True
    )
    stretches = runs.agg(pl.len(), pl.col("session").first().alias("first"), pl.col("session").last().alias("last"))
    longest = stretches.filter(pl.col("len") > STILL_SESSIONS).sort("len", descending=True, maintain_order=True)
    return [
        f"{symbol}: the close stands still for {num} sessions, from {first} to {last}; a halt, or a stale source?"
        for symbol, num, first, last in longest.unique("symbol", maintain_order=True)
        .sort("symbol")
        .select("symbol", "len", "first", "last")
        .iter_rows()
    ]
