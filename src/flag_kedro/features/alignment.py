"""Which articles were available at each decision."""

import polars as pl

from flag_kedro.errors import DataError


def align_news_to_decisions(news: pl.DataFrame, sessions: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Assign every article to the first session of its symbol whose decision may use it.

    Args:
        news: one row per article with `symbol` and `available_at` (UTC), any order.
        sessions: one row per session with `symbol`, `session` and `decided_at` (UTC), ascending within each symbol.

    Returns:
        The articles with the columns of their session, ordered by `available_at`, and how many were dropped because
        they became available after the last decision of their symbol, or because it has none.

    Raises:
        DataError: when the sessions of a symbol are not ascending.
    """
    earlier = pl.col("decided_at") < pl.col("decided_at").shift(1).over("symbol")
    if sessions.select(earlier.any()).item():
        raise DataError("sessions must be ascending in decided_at; sort them in ingest")
    aligned = news.sort("available_at", maintain_order=True).join_asof(
        sessions.sort("decided_at", maintain_order=True),
        left_on="available_at",
        right_on="decided_at",
        by="symbol",
        strategy="forward",
        allow_exact_matches=True,
        check_sortedness=False,  # polars cannot check it within symbols; both are sorted here
    )
    assigned = aligned.drop_nulls("session")
    return assigned, aligned.height - assigned.height


def candidate_articles(aligned: pl.DataFrame, digest_sessions: int) -> pl.DataFrame:
    """One row for each state and article that it could show, the most important first within a state.

    Args:
        aligned: articles by `align_news_to_decisions`, with their `text`, whether it `mentions` the company, and of
            their session `state`, a number that counts on within a symbol; of their symbol the `first` state that is
            wanted, and the `end`, one behind its last.
        digest_sessions: how many states in a row show an article; the first is that of its session.

    Returns:
        Columns of `aligned` with `state` that of the row, ascending, and `article`, which numbers articles.
    """
    states = pl.int_ranges(
        pl.max_horizontal("state", "first"), pl.min_horizontal(pl.col("state") + digest_sessions, "end")
    )
    return (
        aligned.filter(pl.col("text") != "")
        .with_row_index("article")
        .with_columns(state=states)
        .explode("state", empty_as_null=False)
        .sort("state", "mentions", "article", descending=[False, True, True])
    )
