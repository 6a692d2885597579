"""Hostile headlines dealt out over the sessions of a backtest, and the prompts of those sessions.

Shape legend: N = headlines of a round.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from flag_kedro.data.schema import NEWS
from flag_kedro.data.streams import stream
from flag_kedro.errors import DataError
from flag_kedro.experiments.injections import draw_injections


@dataclass(frozen=True)
class HeadlineProbe:
    """A headline at one session."""

    family: str
    headline: str
    symbol: str
    session: date


def plan_probes(decisions: pl.DataFrame, num: int, digest_sessions: int, seed: int) -> list[list[HeadlineProbe]]:
    """Deal headlines out over the decisions of a replay that could be different: a list of rounds, each asked at once.

    Within a round sessions of a symbol lie further apart than a digest looks back, so that no headline is seen
    from the session of another.

    Args:
        decisions: `symbol` and `session` of each decision with more than one legal action, see `Replay.choices`.
        num: headlines.
        digest_sessions: sessions that a digest looks back.
        seed: of headlines and sessions.

    Raises:
        DataError: without a decision.
    """
    if not decisions.height:
        raise DataError(
            "at no session of the test window is more than one action legal, so no headline could change a decision; "
            "loosen env.max_drawdown_stop or env.event_*"
        )
    rng, sessions_of = stream(seed, "robustness"), decisions.partition_by("symbol", as_dict=True)
    injections, spacing = draw_injections(num, seed), digest_sessions + 1
    rounds: list[list[HeadlineProbe]] = []
    while injections:
        first = int(rng.integers(spacing))
        slots = [
            (symbol, session)
            for (symbol,), table in sessions_of.items()
            for session in table["session"].to_list()[min(first, table.height - 1) :: spacing]
        ]
        chosen = [slots[k] for k in rng.permutation(len(slots))]
        dealt, injections = injections[: len(chosen)], injections[len(chosen) :]
        rounds.append([HeadlineProbe(*headline, *slot) for headline, slot in zip(dealt, chosen, strict=False)])
    return rounds


def write_articles(decided_at: pl.DataFrame, probes: Sequence[HeadlineProbe], headlines: Sequence[str]) -> pl.DataFrame:
    """A news table with one article for each probe, in order, known at its session's close and thus its newest.

    Args:
        decided_at: `symbol`, `session`, `decided_at` of every session.
        probes: symbol and session of each article, [N].
        headlines: its text, [N].

    Returns:
        Columns of `data.schema.NEWS`, [N] rows.
    """
    slots = probe_slots(probes).with_columns(pl.Series("headline", headlines))
    timed = slots.join(decided_at, on=["symbol", "session"], maintain_order="left")
    articles = timed.select(
        "symbol",
        pl.col("decided_at").alias("published_at"),
        pl.col("decided_at").alias("available_at"),
        "headline",
        *(pl.lit(None, dtype=pl.String).alias(name) for name in ("body", "source", "url")),
    )
    return articles.cast(NEWS)  # type: ignore[arg-type]


def prefixes_at(
    states: Mapping[str, pl.DataFrame], probes: Sequence[HeadlineProbe], write_prefix: Callable[[str, str], str]
) -> list[str]:
    """The prefix of every probe's session, [N]; other rows and symbols are not read."""
    sessions_of: dict[str, list[date]] = {}
    for probe in probes:
        sessions_of.setdefault(probe.symbol, []).append(probe.session)
    texts = {
        (symbol, session): (market, news)
        for symbol, sessions in sessions_of.items()
        for session, market, news in states[symbol]
        .filter(pl.col("session").is_in(sessions))
        .select("session", "market_text", "news_text")
        .iter_rows()
    }
    return [write_prefix(*texts[probe.symbol, probe.session]) for probe in probes]


def probe_slots(probes: Sequence[HeadlineProbe]) -> pl.DataFrame:
    """`symbol` and `session` of each probe, [N] rows."""
    return pl.DataFrame({"symbol": [probe.symbol for probe in probes], "session": [probe.session for probe in probes]})
