"""Bringing one symbol of the store up to date."""

import logging
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from flag_kedro.data.yahoo.checks import checked_rows
from flag_kedro.data.yahoo.client import YahooClient
from flag_kedro.data.yahoo.names import company_names
from flag_kedro.data.yahoo.revisions import Revision, find_revision, settle_volumes
from flag_kedro.data.yahoo.store import YahooStore
from flag_kedro.data.yahoo.wanted import LATE, Wanted, find_lack
from flag_kedro.errors import DataError

logger = logging.getLogger(__name__)

RECENT = 25
"""Stored sessions that are asked for again, and the one before them, to see whether Yahoo still says the same: it may
tell of a split or a dividend, or rescale what was before, days after it."""
CHECKED_EVERY = timedelta(days=30)
"""After so long an update asks for all again, since an event may be told later still."""


@dataclass(frozen=True)
class Told:
    """What Yahoo answered about a span of sessions."""

    first: date
    last: date
    all_rows: pl.DataFrame
    """Everything since `first`, rows without prices and the running session among them."""
    rows: pl.DataFrame
    """Sound prices of closed sessions from `first` to `last`."""
    wrong: str | None
    """Which sessions were told with prices that cannot be, in words."""
    facts: dict[str, Any]


def update_prices(client: YahooClient, store: YahooStore, wanted: Wanted) -> dict[str, Any]:
    """Ask for the sessions that the store lacks, and for all when Yahoo now tells the stored ones otherwise.

    Returns:
        `rows_added` and `revision` (null without one), fit for JSON.

    Raises:
        DataError: when the answer is refused; the store then is as it was.
    """
    kept = store.read(wanted.symbol, "prices")
    known = store.symbols.get(wanted.symbol, {}).get("prices", {})
    everything = _everything(kept, wanted)
    told = _ask(client, wanted, *(everything if kept is None else _span(kept, known, wanted, everything)))
    revision = _compare(kept, told)
    if revision is not None and (told.first, told.last) != everything:
        told = _ask(client, wanted, *everything)
        revision = _compare(kept, told)
    rows = told.rows if kept is None or revision is not None else _grown(kept, told)
    facts = _facts(rows, told, known, wanted, whole=(told.first, told.last) == everything)
    if kept is not None and revision is not None:
        _check_nothing_lost(kept, rows, wanted, store)
    _check(rows, facts, told, wanted)
    if kept is not None and rows.equals(kept) and facts["checked_at"] == known.get("checked_at"):
        return {"rows_added": 0, "revision": None}
    account, old_rows = None, None
    if revision is not None:
        name = f"{wanted.symbol}-{wanted.now:%Y%m%dT%H%M%SZ}.parquet"
        account, old_rows = _tell(revision, wanted, name), (name, revision.old_rows)
        facts["revisions"].append(account)
    store.write(wanted.symbol, "prices", rows, facts, old_rows)
    new = rows if kept is None else rows.join(kept, on="session", how="anti")
    return {"rows_added": new.height, "revision": account}


def update_news(client: YahooClient, store: YahooStore, wanted: Wanted) -> int:
    """Add the recent articles to the stored ones, which stay as they are; returns how many were new."""
    kept = store.read(wanted.symbol, "news")
    found = client.news(wanted.symbol)
    table = found if kept is None else pl.concat([kept, found])
    table = table.unique("id", keep="first", maintain_order=True)
    again = pl.col("url").is_not_null() & pl.col("url").is_first_distinct().not_()
    table = table.filter(~again).sort("published_at", "id")
    store.write(wanted.symbol, "news", table, {"fetched_at": wanted.now.isoformat()})
    return table.height - (0 if kept is None else kept.height)


def _everything(kept: pl.DataFrame | None, wanted: Wanted) -> tuple[date, date]:
    """First and last of the sessions that are wanted or stored."""
    days = wanted.sessions()["session"]
    if kept is None:
        return days[0], days[-1]
    return min(days[0], kept["session"][0]), max(days[-1], kept["session"][-1])


def _span(
    kept: pl.DataFrame, known: dict[str, Any], wanted: Wanted, everything: tuple[date, date]
) -> tuple[date, date]:
    """First and last session to ask for: the recent ones and what comes after, or everything.

    Everything is when the stored sessions are not whole, or were compared as a whole too long ago.
    """
    before = wanted.sessions(wanted.begin(known)).filter(pl.col("session") <= kept["session"][-1])
    is_whole = find_lack(kept["session"], before, wanted.now, wanted.max_gap, timedelta(0)) is None
    checked_at = known.get("checked_at")
    if not is_whole or checked_at is None or wanted.now - datetime.fromisoformat(checked_at) > CHECKED_EVERY:
        return everything
    return kept["session"][max(kept.height - RECENT - 1, 0)], everything[1]


def _ask(client: YahooClient, wanted: Wanted, first: date, last: date) -> Told:
    logger.info("yahoo: %s from %s to %s", wanted.symbol, first, last)
    answer = client.prices(wanted.symbol, first, last)
    since = answer.rows.filter(pl.col("session") >= first)
    sessions = wanted.calendar_since(min(first, wanted.first))
    rows, wrong = checked_rows(wanted.symbol, since, sessions, wanted.calendar, wanted.now)
    return Told(first, last, since, rows.filter(pl.col("session") <= last), wrong, answer.facts)


def _compare(kept: pl.DataFrame | None, told: Told) -> Revision | None:
    if kept is None:
        return None
    return find_revision(kept.filter(pl.col("session").is_between(told.first, told.last)), told.all_rows)


def _grown(kept: pl.DataFrame, told: Told) -> pl.DataFrame:
    """The stored rows, which Yahoo still tells as they are, and those that they lack."""
    new = told.rows.join(kept, on="session", how="anti")
    return pl.concat([settle_volumes(kept, told.rows), new]).sort("session")


def _facts(rows: pl.DataFrame, told: Told, known: dict[str, Any], wanted: Wanted, *, whole: bool) -> dict[str, Any]:
    """What the store's list says of these prices.

    Raises:
        DataError: when there are none.
    """
    if rows.is_empty():
        traded = told.facts["first_trade"]
        first_trade = f"; its first trade was on {traded}" if traded else ""
        raise DataError(f"{wanted.symbol}: Yahoo's answer has no price of a closed session{first_trade}{_and(told)}")
    return {
        "first": rows["session"][0].isoformat(),
        "last": rows["session"][-1].isoformat(),
        "fetched_at": wanted.now.isoformat(),
        "checked_at": wanted.now.isoformat() if whole else known["checked_at"],
        "asked_since": min(told.first, wanted.first).isoformat() if whole else known["asked_since"],
        "told_since": told.all_rows["session"][0].isoformat() if whole else known["told_since"],
        "names": company_names(told.facts["long_name"], told.facts["short_name"]),
        **{name: told.facts[name] for name in ("timezone", "currency")},
        "first_trade": told.facts["first_trade"] or known.get("first_trade"),
        "revisions": list(known.get("revisions", [])),
    }


def _check(rows: pl.DataFrame, facts: dict[str, Any], told: Told, wanted: Wanted) -> None:
    """Refuse what is not whole, and say so when a late beginning is taken for the first trade.

    Raises:
        DataError: saying what is absent.
    """
    lack = wanted.lack(rows["session"], facts, LATE)
    if lack is not None:
        raise DataError(
            f"{wanted.symbol}: Yahoo's answer was refused and nothing of it stored: {lack}{_and(told)}. Run again "
            "later; if Yahoo has no more, set yahoo.first, yahoo.last or data.max_gap accordingly, or leave the symbol "
            "out"
        )
    begins, days = rows["session"][0], wanted.sessions()["session"]
    asked_for_all = facts["checked_at"] == facts["fetched_at"]
    if asked_for_all and facts["first_trade"] is None and begins > days[0]:
        logger.warning(
            "yahoo: %s: prices begin on %s and Yahoo does not say when it first traded; the %d session(s) from %s on "
            "count as before its first trade",
            wanted.symbol, begins, (days < begins).sum(), days[0],
        )  # fmt: skip


def _check_nothing_lost(kept: pl.DataFrame, rows: pl.DataFrame, wanted: Wanted, store: YahooStore) -> None:
    """Refuse `rows` in the place of `kept` when wanted sessions are not among them, or none of `kept` is.

    Raises:
        DataError: naming the file whose removal lets them in.
    """
    last = wanted.last or date.max
    lost = kept.join(rows, on="session", how="anti")["session"]
    lost_wanted = lost.filter(lost.is_between(wanted.first, last))
    if lost_wanted.is_empty() and len(lost) < kept.height:
        return
    shown = lost if lost_wanted.is_empty() else lost_wanted
    raise DataError(
        f"{wanted.symbol}: Yahoo's answer was refused and nothing of it stored: {len(shown)} stored session(s) are no "
        f"longer told, first {shown[0]}. Run again later; if Yahoo has no more, begin after them with yahoo.first, or "
        f"remove {store.path(wanted.symbol, 'prices')} to download anew what it has"
    )


def _and(told: Told) -> str:
    return "" if told.wrong is None else f"; {told.wrong}, which count as absent"


def _tell(revision: Revision, wanted: Wanted, name: str) -> dict[str, Any]:
    """A revision for reports, with a warning in the log."""
    num_changed = revision.old_rows.height - revision.num_lost
    changes = ", ".join(f"{column} {change:.2%}" for column, change in revision.largest_change.items()) or "none"
    logger.warning(
        "yahoo: %s: Yahoo now tells %d stored session(s) otherwise and %d no more (largest change: %s), %s; all its "
        "prices were fetched anew, the old rows are in revisions/%s",
        wanted.symbol,
        num_changed,
        revision.num_lost,
        changes,
        f"explained by a {revision.explained_by}" if revision.explained_by else "explained by no split or dividend",
        name,
    )
    return {
        "seen_at": wanted.now.isoformat(),
        "rows_changed": num_changed,
        "rows_lost": revision.num_lost,
        "largest_change": revision.largest_change,
        "explained_by": revision.explained_by,
        "file": f"revisions/{name}",
    }
