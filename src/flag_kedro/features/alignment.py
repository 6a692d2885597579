"""Which articles each decision may use."""

import polars as pl

from flag_kedro.data.schema import DataError


def align_news_to_decisions(news: pl.DataFrame, sessions: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Assign every article to the first session whose decision may use it.

    Args:
        news: one row per article of one symbol with `available_at` (UTC), any order.
        sessions: one row per session with `session` and `decided_at` (UTC), ascending.

    Returns:
        The articles with a `session` column, ordered by `available_at`, and how many were dropped because
        they became available after the last decision.

    Raises:
        DataError: when sessions are not ascending.
    """
    if not sessions["decided_at"].is_sorted():
        raise DataError("sessions must be ascending in decided_at; sort them in ingest")
    aligned = news.sort("available_at", maintain_order=True).join_asof(
        sessions.select("session", "decided_at"),
        left_on="available_at",
        right_on="decided_at",
        strategy="forward",
        allow_exact_matches=True,
    )
    kept = aligned.drop_nulls("session")
    return kept, aligned.height - kept.height
