"""The causality audit: does anything decided by a time depend on what became known after it?

Everything that became known later is changed in the validated tables, features and decisions are made anew, and
prompts, decisions and fills by that time are compared byte for byte. What it cannot see is in docs/audits.md.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

import polars as pl

from flag_kedro.backtest.audit_results import MAX_LISTED, AuditDifference, CausalityCheck, LevelCheck
from flag_kedro.backtest.corruptions import CORRUPTIONS, SPLITS
from flag_kedro.backtest.replay import KEYS, Replay
from flag_kedro.data.streams import stream
from flag_kedro.errors import DataError
from flag_kedro.features.market_tables import MarketTables

ALL_STRATEGIES = "all"
HOLIDAY_DAYS = 4
"""Days between two sessions from which on a closure is more than a weekend."""

Play = Callable[[MarketTables, datetime | None], Mapping[str, Replay]]
"""From tables to the replay of every strategy, built anew from them. Given a time, what is decided later need not be
played."""


def choose_cuts(decided_at: pl.DataFrame, num: int, seed: int) -> list[datetime]:
    """Decision times to audit at, so that a leak on one weekday or at the end of months is met.

    One is drawn from the last sessions of months, from each weekday, from the sessions before a holiday, and from the
    last of quarters and the first of months, as far as `num` goes; the rest from all. The first and the last are never
    drawn. A window with fewer times between its ends is audited at each of them.

    Args:
        decided_at: `session`, `decided_at` of decisions, any order, also several at a time.
        num: how many.
        seed: of the draws.

    Raises:
        DataError: when there is none.
    """
    times = decided_at.group_by("decided_at").agg(pl.col("session").min()).sort("decided_at")
    kinds = times.with_columns(_kinds())[1:-1]
    if kinds.is_empty():
        raise DataError("the test window has no decision between its first and its last to audit at; lengthen it")
    rng = stream(seed, "audit times")
    chosen: set[int] = set()
    for rows in _strata(kinds, num):
        left = [row for row in rows if row not in chosen]
        if left and len(chosen) < num:
            chosen.add(left[int(rng.integers(len(left)))])
    return [kinds["decided_at"][row] for row in sorted(chosen)]


def auditable(decided_at: pl.DataFrame) -> pl.DataFrame:
    """Decisions at times by which every symbol has decided at least twice, so that each has a window to trade."""
    second = decided_at.group_by("symbol").agg(pl.col("decided_at").sort().get(1))["decided_at"].max()
    return decided_at.filter(pl.col("decided_at") >= second)


def states_until(market_states: Mapping[str, pl.DataFrame], until: datetime) -> dict[str, pl.DataFrame]:
    """The market states of decisions up to a time."""
    return {symbol: table.filter(pl.col("decided_at") <= until) for symbol, table in market_states.items()}


def _kinds() -> list[pl.Expr]:
    """What may be special about a session, given all sessions in order: a weekday, and booleans."""
    session = pl.col("session")
    after, before = session.shift(-1), session.shift(1)
    return [
        session.dt.weekday().alias("weekday"),
        (after.dt.month() != session.dt.month()).alias("month_end"),
        (before.dt.month() != session.dt.month()).alias("month_start"),
        (after.dt.quarter() != session.dt.quarter()).alias("quarter_end"),
        ((after - session).dt.total_days() >= HOLIDAY_DAYS).alias("before_holiday"),
    ]


def _strata(kinds: pl.DataFrame, num: int) -> Iterator[list[int]]:
    """Rows of `kinds` of which one shall be drawn, the most needed first."""
    rows = kinds.with_row_index("row")
    yield rows.filter("month_end")["row"].to_list()
    for weekday in rows["weekday"].unique().sort():
        yield rows.filter(pl.col("weekday") == weekday)["row"].to_list()
    for kind in ("before_holiday", "quarter_end", "month_start"):
        yield rows.filter(kind)["row"].to_list()
    for _ in range(num):
        yield rows["row"].to_list()


def audit_causality(
    tables: MarketTables,
    decided_at: pl.DataFrame,
    reference: Mapping[str, Replay],
    play: Play,
    cuts: Sequence[datetime],
    seed: int,
    on_check: Callable[[], None] | None = None,
) -> list[CausalityCheck]:
    """Change what became known after each of `cuts`, decide anew and compare.

    Args:
        tables: the validated ones.
        decided_at: `symbol`, `session`, `decided_at` of every session of the backtest.
        reference: the backtest's own replays.
        play: makes the replays from changed tables.
        cuts: times of decisions.
        seed: of the corruptions' draws.
        on_check: called after each check, for a progress bar.
    """
    checks = []
    for cut in cuts:
        sessions = decided_at.filter(pl.col("decided_at") <= cut).select("symbol", "session")
        for name, corrupt in CORRUPTIONS.items():
            replays = play(corrupt(tables, cut, stream(seed, "audit", name, cut.isoformat())), cut)
            compared, differences = compare_replays(reference, replays, sessions)
            checks.append(
                CausalityCheck(
                    decided_at=cut.isoformat(),
                    corruption=name,
                    compared=compared,
                    num_differences=len(differences),
                    differences=differences[:MAX_LISTED],
                )
            )
            if on_check is not None:
                on_check()
    return checks


def audit_levels(tables: MarketTables) -> LevelCheck:
    """Adjust all prices for a later split, in either way, write the texts anew and compare: none may show a level."""
    before, differences = _texts(tables), []
    for split in SPLITS:
        differs = (before != _texts(split(tables))).select(pl.any_horizontal(pl.all())).to_series()
        differences += [
            AuditDifference(what="texts", strategy=ALL_STRATEGIES, symbol=symbol, session=session.isoformat())
            for symbol, session in before.filter(differs).select("symbol", "session").rows()
        ]
    return LevelCheck(
        compared=len(SPLITS) * before.height,
        num_differences=len(differences),
        differences=differences[:MAX_LISTED],
    )


def _texts(tables: MarketTables) -> pl.DataFrame:
    """What states say of the market and the news."""
    return pl.concat(tables.build_states().values()).select("symbol", "session", "market_text", "news_text")


def compare_replays(
    reference: Mapping[str, Replay], replays: Mapping[str, Replay], sessions: pl.DataFrame
) -> tuple[dict[str, int], list[AuditDifference]]:
    """Rows of all strategies in `sessions` that were compared, by kind, and all that differ.

    Args:
        reference: of the whole tables.
        replays: of changed ones.
        sessions: `symbol`, `session` of what is compared.
    """
    compared, differences = {}, []
    for what, attribute in (("prompts", "prompts"), ("decisions", "decisions"), ("fills", "equity")):
        before, after = (
            pl.concat([getattr(replay, attribute) for replay in side.values()]).join(
                sessions, on=["symbol", "session"], how="semi"
            )
            for side in (reference, replays)
        )
        compared[what] = before.height
        differences += [
            AuditDifference(what=what, strategy=strategy, symbol=symbol, session=session.isoformat())
            for strategy, symbol, session in _differing(before, after).rows()
        ]
    return compared, differences


def _differing(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Keys of the rows that are not the same, bit for bit, in both tables or stand in one only."""
    values = [name for name in before.columns if name not in KEYS]
    both = before.join(after, on=KEYS, how="full", coalesce=True, suffix="_after")
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_after")) for name in values)
    return both.filter(differs).select(KEYS).sort(KEYS)
