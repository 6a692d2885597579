"""Which of the prices in Yahoo's answer are sound."""

import logging
from datetime import datetime

import polars as pl

from flag_kedro.errors import DataError

logger = logging.getLogger(__name__)

QUOTES = ("open", "high", "low", "close", "adj_close")


def is_sound() -> pl.Expr:
    """Whether a row has all its prices, each positive and finite."""
    return pl.all_horizontal((pl.col(name).is_finite() & (pl.col(name) > 0)).fill_null(False) for name in QUOTES)


def checked_rows(
    symbol: str, rows: pl.DataFrame, sessions: pl.DataFrame, calendar: str, now: datetime
) -> tuple[pl.DataFrame, str | None]:
    """Those of an answer's `rows` that are prices of closed sessions, ascending, and what is wrong with others.

    Rows of the session that is running and rows without any price are left out, and so are, with a warning, those of
    closed sessions with a price that is absent or cannot be. Whether too much is absent then is for `find_lack` to say.

    Args:
        symbol: for messages.
        rows: columns of `client.PriceAnswer`.
        sessions: `exchange_sessions` from the first row until after `now`.
        calendar: its name, for messages.
        now: time of the question (UTC).

    Returns:
        The rows, and in words those that cannot be; None where all can.

    Raises:
        DataError: when a day is no session.
    """
    running = sessions.filter(pl.col("closes_at") > now)["session"]
    priced = rows.filter(~pl.all_horizontal(pl.col(name).is_null() for name in QUOTES)).sort("session")
    priced = priced if running.is_empty() else priced.filter(pl.col("session") < running[0])
    off_calendar = priced.join(sessions, on="session", how="anti")["session"]
    if len(off_calendar):
        raise DataError(
            f"{symbol}: prices on {len(off_calendar)} day(s) that are no session of {calendar}, first "
            f"{off_calendar[0]}; give data.calendar the symbol's own exchange"
        )
    unsound = priced.filter(~is_sound())
    if unsound.is_empty():
        return priced, None
    values = ", ".join(f"{name} {unsound[name][0]}" for name in QUOTES)
    wrong = f"{unsound.height} session(s) with prices that cannot be, first {unsound['session'][0]} with {values}"
    logger.warning("yahoo: %s: %s; they count as absent", symbol, wrong)
    return priced.filter(is_sound()), wrong
