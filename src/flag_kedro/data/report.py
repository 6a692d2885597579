"""What a user should know of the data before believing a backtest of it."""

from typing import Any

import polars as pl

from flag_kedro.data.validation import ValidatedTables

STALE_SESSIONS = 20
"""Sessions without an article at the end of a symbol's prices, beyond which its news count as stale."""


def describe_data(admitted: ValidatedTables, expected: pl.DataFrame) -> dict[str, Any]:
    """Facts of every symbol, fit for JSON.

    Args:
        admitted: what the door let in.
        expected: `symbol` and `session` of every session there should be.

    Returns:
        `symbols`: for each `first` and `last` session, `num_sessions`, `num_gaps` (sessions without a price),
        `num_articles`, `share_with_news` (of sessions' dates), `last_article` and `sessions_since_news` (null without
        any); `num_rejected` rows by rule; and `warnings`.
    """
    facts = _symbol_facts(admitted, expected)
    rejected = dict(admitted.rejected.group_by("rule", maintain_order=True).len().iter_rows())
    return {"symbols": facts, "num_rejected": rejected, "warnings": _warnings(facts, rejected)}


def _symbol_facts(admitted: ValidatedTables, expected: pl.DataFrame) -> dict[str, dict[str, Any]]:
    news = admitted.news.select("symbol", session=pl.col("published_at").dt.date(), article=pl.lit(True))
    articles = news.group_by("symbol").agg(
        pl.len().alias("num_articles"), pl.col("session").max().alias("last_article")
    )
    days = admitted.prices.select("symbol", "session").join(
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
        row["symbol"]: {
            "first": row["first"].isoformat(),
            "last": row["last"].isoformat(),
            "num_sessions": row["num_sessions"],
            "num_gaps": row["num_expected"] - row["num_sessions"],
            "num_articles": row["num_articles"] or 0,
            "share_with_news": row["share_with_news"],
            "last_article": row["last_article"].isoformat() if row["last_article"] else None,
            "sessions_since_news": (row["sessions_since_news"] or 0) if row["last_article"] else None,
        }
        for row in table.iter_rows(named=True)
    }


def _warnings(facts: dict[str, dict[str, Any]], rejected: dict[str, int]) -> list[str]:
    """What is allowed and still worth a word."""
    gaps = {symbol: fact["num_gaps"] for symbol, fact in facts.items() if fact["num_gaps"]}
    silent = [symbol for symbol, fact in facts.items() if not fact["num_articles"]]
    stale = {symbol: fact for symbol, fact in facts.items() if (fact["sessions_since_news"] or 0) > STALE_SESSIONS}
    lines = [f"{symbol}: {num} session(s) without a price are skipped" for symbol, num in gaps.items()]
    lines += [
        f"{symbol}: news end on {fact['last_article']}, {fact['sessions_since_news']} sessions before the prices do"
        for symbol, fact in stale.items()
    ]
    if silent:
        lines.append(f"no article at all for {' '.join(silent)}")
    lines += [f"{num} row(s) left out: {rule}" for rule, num in rejected.items()]
    return lines
