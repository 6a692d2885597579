"""Which sessions the store should have, by the exchange's calendar, and what it lacks of them."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from flag_kedro.data.calendar import exchange_sessions
from flag_kedro.data.yahoo.store import YahooStore
from flag_kedro.errors import ParameterError

LATE = timedelta(hours=2)
"""Yahoo may take so long after a close to have the session."""


@dataclass(frozen=True)
class Wanted:
    """Which sessions of a symbol the store should have."""

    symbol: str
    calendar: str
    first: date
    last: date | None
    """Null means the last one that has closed."""
    now: datetime
    max_gap: int

    def calendar_since(self, first: date) -> pl.DataFrame:
        """All sessions from `first` to tomorrow: `session`, `opens_at`, `closes_at`.

        Raises:
            ParameterError: when exchange_calendars does not know the calendar.
            DataError: when the calendar does not reach so far.
        """
        until = (self.now + timedelta(days=1)).date()  # where the sun rises first it is tomorrow already
        return exchange_sessions(self.calendar, min(first, until), until)

    def sessions(self, first_trade: str | None = None) -> pl.DataFrame:
        """Closed sessions since `first`, or since the symbol's first trade (ISO date) where that is later.

        Raises:
            ParameterError: as `calendar_since`.
            DataError: as `calendar_since`.
        """
        first = max(self.first, date.fromisoformat(first_trade)) if first_trade else self.first
        last = self.last or date.max
        # one span for all symbols, so that one calendar is built and not one for each
        return self.calendar_since(self.first).filter(
            pl.col("closes_at") <= self.now, pl.col("session").is_between(first, last)
        )

    def lack(self, stored: pl.Series, entry: dict[str, Any], late: timedelta) -> str | None:
        """What `stored` sessions lack, in words (`find_lack`).

        Args:
            stored: sessions, ascending.
            entry: the store's facts of them, as they are or will be.
            late: how late a session may be.

        Raises:
            ParameterError: as `calendar_since`.
            DataError: as `calendar_since`.
        """
        return find_lack(stored, self.sessions(self.begin(entry)), self.now, self.max_gap, late)

    def begin(self, entry: dict[str, Any]) -> str | None:
        """ISO date of the first trade, None where unknown.

        Where Yahoo does not say it, it is the first session of its answer when all since `first` was asked.
        """
        first_trade: str | None = entry.get("first_trade")
        if first_trade is not None:
            return first_trade
        asked_since: str | None = entry.get("asked_since")
        return entry["told_since"] if asked_since is not None and asked_since <= self.first.isoformat() else None


def find_lack(stored: pl.Series, wanted: pl.DataFrame, now: datetime, max_gap: int, late: timedelta) -> str | None:
    """What `stored` sessions lack of the `wanted` ones, in words; None when they will do.

    At the beginning and in between up to `max_gap` sessions in a row may be absent; at the end only those that closed
    less than `late` before `now`.
    """
    due = wanted.select("session", present=pl.col("session").is_in(stored.implode()), closes_at="closes_at")
    due = due.filter(pl.col("present") | (pl.col("closes_at") <= now - late))
    days, have = due["session"], due.filter("present")["session"]
    if days.is_empty():
        return None
    if have.is_empty():
        return f"no price of the {len(days)} session(s) from {days[0]} to {days[-1]}"
    if have[-1] != days[-1]:
        after = days.filter(days > have[-1])
        return (
            f"stale: prices end on {have[-1]}, but {len(after)} session(s) from {after[0]} to {after[-1]} have closed"
        )
    before = days.filter(days < have[0])
    if len(before) > max_gap:
        return f"prices begin on {have[0]}, but {len(before)} session(s) from {before[0]} to {before[-1]} were before"
    runs = due.with_columns(run=pl.col("present").rle_id()).filter(~pl.col("present"))
    holes = runs.group_by("run", maintain_order=True).agg("session")["session"].to_list()
    long = [hole for hole in holes if len(hole) > max_gap]
    if not long:
        return None
    return (
        f"{sum(map(len, long))} session(s) without a price, first {long[0][0]}; {max(map(len, long))} in a row, where "
        f"data.max_gap allows {max_gap}"
    )


def lacks_prices(store: YahooStore, wanted: Wanted, late: timedelta) -> str | None:
    """What the store's prices lack, in words; None when they will do.

    Raises:
        ParameterError: when no session from `yahoo.first` to `yahoo.last` has closed, or the calendar is unknown.
        DataError: when the file is damaged, or the calendar does not reach so far.
    """
    days = wanted.sessions()["session"]
    if days.is_empty():
        raise ParameterError(
            f"{wanted.symbol}: no session of {wanted.calendar} from yahoo.first {wanted.first} to yahoo.last "
            f"{wanted.last or 'null'} has closed by {wanted.now:%Y-%m-%d %H:%M} UTC"
        )
    stored = store.read(wanted.symbol, "prices")
    if stored is None:
        return f"nothing is stored; wanted are {len(days)} session(s) from {days[0]} to {days[-1]}"
    return wanted.lack(stored["session"], store.entry(wanted.symbol, "prices") or {}, late)


def lacks_news(store: YahooStore, wanted: Wanted) -> bool:
    """Whether news was not asked for since the last wanted session closed.

    Raises:
        DataError: when the file is damaged, or the calendar does not reach so far.
        ParameterError: when the calendar is unknown.
    """
    store.read(wanted.symbol, "news")
    entry = store.entry(wanted.symbol, "news")
    return entry is None or datetime.fromisoformat(entry["fetched_at"]) < wanted.sessions()["closes_at"][-1]
