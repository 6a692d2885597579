"""Bringing one symbol of the store up to date."""

import logging
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from flag_kedro.data.yahoo.checks import checked_rows
from flag_kedro.data.yahoo.client import TickerFacts, YahooClient
from flag_kedro.data.yahoo.names import company_names
from flag_kedro.data.yahoo.revisions import Revision, RevisionReport, find_revision, settle_volumes
from flag_kedro.data.yahoo.store import YahooStore
from flag_kedro.data.yahoo.wanted import LATE, Wanted, find_lack
from flag_kedro.errors import DataError

logger = logging.getLogger(__name__)

RECENT = 25
"""Stored sessions that are asked for again, and the one before them, to see whether Yahoo still says the same: it may
report a split or a dividend, or rescale what was before, days after it."""
CHECKED_EVERY = timedelta(days=30)
"""After so long an update asks for all again, since an event may be reported later still."""


@dataclass(frozen=True)
class CheckedAnswer:
    """Yahoo's answer about a span of sessions, with its sound rows selected."""

    first: date
    last: date
    all_rows: pl.DataFrame
    """Everything since `first`, rows without prices and the running session among them."""
    rows: pl.DataFrame
    """Sound prices of closed sessions from `first` to `last`."""
    wrong: str | None
    """Which sessions came with prices that cannot be, in words."""
    facts: TickerFacts


def update_prices(client: YahooClient, store: YahooStore, wanted: Wanted) -> tuple[int, RevisionReport | None]:
    """Ask for the sessions that the store lacks, and for all when Yahoo's stored ones have changed.

    Args:
        client: where to ask.
        store: where the prices are stored.
        wanted: the symbol and the sessions that it should have.

    Returns:
        How many sessions are new, and the revision of stored ones, None without any.

    Raises:
        DataError: when the answer is refused, or the stored file is damaged; the store then is as it was.
        Unreachable: when no try was answered usably.
        ParameterError: when the calendar is unknown.
    """
    stored = store.read(wanted.symbol, "prices")
    entry = store.symbols.get(wanted.symbol, {}).get("prices", {})
    everything = _whole_span(stored, wanted)
    answer = _ask(client, wanted, *(everything if stored is None else _span_to_ask(stored, entry, wanted, everything)))
    revision = _compare(stored, answer)
    if revision is not None and (answer.first, answer.last) != everything:
        answer = _ask(client, wanted, *everything)
        revision = _compare(stored, answer)
    rows = answer.rows if stored is None or revision is not None else _extended(stored, answer)
    facts = _facts(rows, answer, entry, wanted, whole=(answer.first, answer.last) == everything)
    if stored is not None and revision is not None:
        _check_nothing_lost(stored, rows, wanted, store)
    _check(rows, facts, answer, wanted)
    if stored is not None and rows.equals(stored) and facts["checked_at"] == entry.get("checked_at"):
        return 0, None
    summary, old_rows = None, None
    if revision is not None:
        name = f"{wanted.symbol}-{wanted.now:%Y%m%dT%H%M%SZ}.parquet"
        summary, old_rows = _log_revision(revision, wanted, name), (name, revision.old_rows)
        facts["revisions"].append(asdict(summary))
    store.write(wanted.symbol, "prices", rows, facts, old_rows)
    new = rows if stored is None else rows.join(stored, on="session", how="anti")
    return new.height, summary


def update_news(client: YahooClient, store: YahooStore, wanted: Wanted) -> int:
    """Add the recent articles to the stored ones, which stay as they are; returns how many were new.

    Raises:
        DataError: when the stored file is damaged, or an article is not in a shape that is known.
        Unreachable: when no try was answered usably.
    """
    stored = store.read(wanted.symbol, "news")
    recent = client.news(wanted.symbol)
    table = recent if stored is None else pl.concat([stored, recent])
    table = table.unique("id", keep="first", maintain_order=True)
    again = pl.col("url").is_not_null() & pl.col("url").is_first_distinct().not_()
    table = table.filter(~again).sort("published_at", "id")
    store.write(wanted.symbol, "news", table, {"fetched_at": wanted.now.isoformat()})
    return table.height - (0 if stored is None else stored.height)


def _whole_span(stored: pl.DataFrame | None, wanted: Wanted) -> tuple[date, date]:
    """First and last of the sessions that are wanted or stored."""
    days = wanted.sessions()["session"]
    if stored is None:
        return days[0], days[-1]
    return min(days[0], stored["session"][0]), max(days[-1], stored["session"][-1])


def _span_to_ask(
    stored: pl.DataFrame, entry: dict[str, Any], wanted: Wanted, everything: tuple[date, date]
) -> tuple[date, date]:
    """First and last session to ask for: the recent ones and what comes after, or everything.

    Everything is when the stored sessions are not whole, or were compared as a whole too long ago.
    """
    before = wanted.sessions(wanted.begin(entry)).filter(pl.col("session") <= stored["session"][-1])
    is_whole = find_lack(stored["session"], before, wanted.now, wanted.max_gap, timedelta(0)) is None
    checked_at = entry.get("checked_at")
    if not is_whole or checked_at is None or wanted.now - datetime.fromisoformat(checked_at) > CHECKED_EVERY:
        return everything
    return stored["session"][max(stored.height - RECENT - 1, 0)], everything[1]


def _ask(client: YahooClient, wanted: Wanted, first: date, last: date) -> CheckedAnswer:
    logger.info("yahoo: %s from %s to %s", wanted.symbol, first, last)
    answer = client.prices(wanted.symbol, first, last)
    since = answer.rows.filter(pl.col("session") >= first)
    sessions = wanted.calendar_since(min(first, wanted.first))
    rows, wrong = checked_rows(wanted.symbol, since, sessions, wanted.calendar, wanted.now)
    return CheckedAnswer(first, last, since, rows.filter(pl.col("session") <= last), wrong, answer.facts)


def _compare(stored: pl.DataFrame | None, answer: CheckedAnswer) -> Revision | None:
    if stored is None:
        return None
    return find_revision(stored.filter(pl.col("session").is_between(answer.first, answer.last)), answer.all_rows)


def _extended(stored: pl.DataFrame, answer: CheckedAnswer) -> pl.DataFrame:
    """The stored rows, which Yahoo still has as they are, and those of the answer that they lack."""
    new = answer.rows.join(stored, on="session", how="anti")
    return pl.concat([settle_volumes(stored, answer.rows), new]).sort("session")


def _facts(
    rows: pl.DataFrame, answer: CheckedAnswer, entry: dict[str, Any], wanted: Wanted, *, whole: bool
) -> dict[str, Any]:
    """The entry of these prices in `store.json`.

    Raises:
        DataError: when there are none.
    """
    if rows.is_empty():
        traded = answer.facts.first_trade
        first_trade = f"; its first trade was on {traded}" if traded else ""
        raise DataError(
            f"{wanted.symbol}: Yahoo's answer has no price of a closed session{first_trade}{_unsound_note(answer)}"
        )
    return {
        "first": rows["session"][0].isoformat(),
        "last": rows["session"][-1].isoformat(),
        "fetched_at": wanted.now.isoformat(),
        "checked_at": wanted.now.isoformat() if whole else entry["checked_at"],
        "asked_since": min(answer.first, wanted.first).isoformat() if whole else entry["asked_since"],
        "told_since": answer.all_rows["session"][0].isoformat() if whole else entry["told_since"],
        "names": company_names(answer.facts.long_name, answer.facts.short_name),
        "timezone": answer.facts.timezone,
        "currency": answer.facts.currency,
        "first_trade": answer.facts.first_trade or entry.get("first_trade"),
        "revisions": list(entry.get("revisions", [])),
    }


def _check(rows: pl.DataFrame, facts: dict[str, Any], answer: CheckedAnswer, wanted: Wanted) -> None:
    """Refuse what is not whole, and say so when a late beginning is taken for the first trade.

    Raises:
        DataError: saying what is absent.
    """
    lack = wanted.lack(rows["session"], facts, LATE)
    if lack is not None:
        raise DataError(
            f"{wanted.symbol}: Yahoo's answer was refused and nothing of it stored: {lack}{_unsound_note(answer)}. "
            "Run again later; if Yahoo has no more, set yahoo.first, yahoo.last or data.max_gap accordingly, or leave "
            "the symbol out"
        )
    begins, days = rows["session"][0], wanted.sessions()["session"]
    asked_for_all = facts["checked_at"] == facts["fetched_at"]
    if asked_for_all and facts["first_trade"] is None and begins > days[0]:
        logger.warning(
            "yahoo: %s: prices begin on %s and Yahoo does not say when it first traded; the %d session(s) from %s on "
            "count as before its first trade",
            wanted.symbol, begins, (days < begins).sum(), days[0],
        )  # fmt: skip


def _check_nothing_lost(stored: pl.DataFrame, rows: pl.DataFrame, wanted: Wanted, store: YahooStore) -> None:
    """Refuse `rows` in the place of `stored` when wanted sessions are not among them, or none of `stored` is.

    Raises:
        DataError: naming the file whose removal lets them in.
    """
    last = wanted.last or date.max
    lost = stored.join(rows, on="session", how="anti")["session"]
    lost_wanted = lost.filter(lost.is_between(wanted.first, last))
    if lost_wanted.is_empty() and len(lost) < stored.height:
        return
    shown = lost if lost_wanted.is_empty() else lost_wanted
    raise DataError(
        f"{wanted.symbol}: Yahoo's answer was refused and nothing of it stored: {len(shown)} stored session(s) are no "
        f"longer told, first {shown[0]}. Run again later; if Yahoo has no more, begin after them with yahoo.first, or "
        f"remove {store.path(wanted.symbol, 'prices')} to download anew what it has"
    )


def _unsound_note(answer: CheckedAnswer) -> str:
    return "" if answer.wrong is None else f"; {answer.wrong}, which count as absent"


def _log_revision(revision: Revision, wanted: Wanted, name: str) -> RevisionReport:
    """The report of a revision, with a warning in the log."""
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
    return RevisionReport(
        seen_at=wanted.now.isoformat(),
        rows_changed=num_changed,
        rows_lost=revision.num_lost,
        largest_change=revision.largest_change,
        explained_by=revision.explained_by,
        file=f"revisions/{name}",
    )
