"""The causality audit: does anything decided by a time depend on what became known after it?

Everything that became known later is corrupted in the validated tables, features and decisions are made anew, and
prompts, decisions and fills by that time are compared byte for byte.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np
import polars as pl

from flag_kedro.backtest.replay import KEYS, Replay
from flag_kedro.data.streams import stream
from flag_kedro.env.account import Ints
from flag_kedro.errors import DataError

PRICE_COLUMNS = ("open", "high", "low", "close", "adj_close")
ARTICLE_COLUMNS = ("headline", "body", "source", "url")
MAX_LISTED = 10
"""Differences that a check lists; it counts all."""

Tables = tuple[pl.DataFrame, pl.DataFrame]
Corruption = Callable[[pl.DataFrame, pl.DataFrame, datetime, int], Tables]
"""From prices, news, a time and a seed to both tables, still valid, changed after that time only."""
Play = Callable[[pl.DataFrame, pl.DataFrame, datetime | None], Mapping[str, Replay]]
"""From prices and news to the replay of every strategy, built anew from these tables. Given a time, what is decided
later need not be played."""


@dataclass(frozen=True, kw_only=True)
class AuditDifference:
    """A row that depends on the future, or stands in one of the two backtests only."""

    what: str
    """`prompts`, `decisions` or `fills`."""
    strategy: str
    symbol: str
    session: str
    """Its date, ISO 8601."""


@dataclass(frozen=True, kw_only=True)
class CausalityCheck:
    """One corruption at one time."""

    decided_at: str
    """What became known after it is corrupted, ISO 8601."""
    corruption: str
    """One of `CORRUPTIONS`."""
    compared: dict[str, int]
    """Rows compared: `prompts` (with masks), `decisions` (with probabilities, values and positions) and `fills` (with
    equity)."""
    num_differences: int
    differences: list[AuditDifference]
    """The first ten."""


@dataclass(frozen=True, kw_only=True)
class CausalityAudit:
    """All checks; it passed where none of them has a difference."""

    passed: bool
    checks: list[CausalityCheck]


def raise_prices(prices: pl.DataFrame, news: pl.DataFrame, after: datetime, seed: int) -> Tables:
    """Multiply all prices known after a time by ten."""
    later = pl.col("available_at") > after
    return prices.with_columns(pl.when(later).then(pl.col(PRICE_COLUMNS) * 10.0).otherwise(pl.col(PRICE_COLUMNS))), news


def reverse_prices(prices: pl.DataFrame, news: pl.DataFrame, after: datetime, seed: int) -> Tables:
    """Reverse prices and volumes known after a time, symbol by symbol; sessions stay where they are."""
    source = np.arange(prices.height)
    for symbol in prices["symbol"].unique():
        rows = _rows((prices["symbol"] == symbol) & (prices["available_at"] > after))
        source[rows] = rows[::-1]
    return prices.with_columns(prices[name][source] for name in (*PRICE_COLUMNS, "volume")), news


def swap_articles(prices: pl.DataFrame, news: pl.DataFrame, after: datetime, seed: int) -> Tables:
    """Deal the articles known after a time out anew among all days and symbols."""
    source, rows = np.arange(news.height), _rows(news["available_at"] > after)
    source[rows] = stream(seed, "audit articles", after.isoformat()).permutation(rows)
    return prices, news.with_columns(news[name][source] for name in ARTICLE_COLUMNS)


def repeat_article(prices: pl.DataFrame, news: pl.DataFrame, after: datetime, seed: int) -> Tables:
    """Make all articles known after a time copies of one of them, so that counts and totals change too."""
    source, rows = np.arange(news.height), _rows(news["available_at"] > after)
    if len(rows):
        source[rows] = stream(seed, "audit article", after.isoformat()).choice(rows)
    return prices, news.with_columns(news[name][source] for name in ARTICLE_COLUMNS)


CORRUPTIONS: Mapping[str, Corruption] = {
    "prices x 10": raise_prices,
    "prices reversed in time": reverse_prices,
    "articles swapped among days": swap_articles,
    "articles all alike": repeat_article,
}


def choose_cuts(decided_at: pl.Series, num: int, seed: int) -> list[datetime]:
    """Decision times to audit at: one drawn from each of `num` equal stretches of `decided_at`, its ends excluded.

    A window with fewer times between its ends is audited at each of them.

    Raises:
        DataError: when there is none.
    """
    times = decided_at.unique().sort()[1:-1].to_list()
    if not times:
        raise DataError("the test window has no decision between its first and its last to audit at; lengthen it")
    num = min(num, len(times))
    rng = stream(seed, "audit times")
    edges = np.linspace(0, len(times), num + 1).astype(int)
    return [times[int(rng.integers(low, high))] for low, high in pairwise(edges)]


def audit_causality(
    prices: pl.DataFrame,
    news: pl.DataFrame,
    decided_at: pl.DataFrame,
    reference: Mapping[str, Replay],
    play: Play,
    cuts: Sequence[datetime],
    seed: int,
    on_check: Callable[[], None] | None = None,
) -> CausalityAudit:
    """Corrupt what became known after each of `cuts`, decide anew and compare.

    Args:
        prices: the validated table.
        news: the validated table.
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
            replays = play(*corrupt(prices, news, cut, seed), cut)
            checks.append(_compare(reference, replays, sessions, cut, name))
            if on_check is not None:
                on_check()
    return CausalityAudit(passed=all(check.num_differences == 0 for check in checks), checks=checks)


def _compare(
    reference: Mapping[str, Replay],
    replays: Mapping[str, Replay],
    sessions: pl.DataFrame,
    cut: datetime,
    corruption: str,
) -> CausalityCheck:
    """Rows of all strategies in `sessions` that were compared, and those that differ."""
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
    return CausalityCheck(
        decided_at=cut.isoformat(),
        corruption=corruption,
        compared=compared,
        num_differences=len(differences),
        differences=differences[:MAX_LISTED],
    )


def _differing(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Keys of the rows that are not the same, bit for bit, in both tables or stand in one only."""
    values = [name for name in before.columns if name not in KEYS]
    both = before.join(after, on=KEYS, how="full", coalesce=True, suffix="_after")
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_after")) for name in values)
    return both.filter(differs).select(KEYS).sort(KEYS)


def _rows(mask: pl.Series) -> Ints:
    return np.flatnonzero(mask.to_numpy())
