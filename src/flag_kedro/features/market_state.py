"""One text state per symbol and session: everything knowable at its decision, and the prices to trade at."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import polars as pl

from flag_kedro.data.schema import UTC, DataError, Schema
from flag_kedro.features.alignment import align_news_to_decisions
from flag_kedro.features.digest import write_digest
from flag_kedro.features.indicators import WARM_UP, adjusted_prices, compute_indicators

MARKET_STATE: Schema = {
    "symbol": pl.String,
    "session": pl.Date,
    "decided_at": UTC,
    "known_at": UTC,
    "market_text": pl.String,
    "news_text": pl.String,
    "open_price": pl.Float64,
    "mark_price": pl.Float64,
    "volume": pl.Float64,
}
"""`decided_at` is the session's close; `known_at` the latest `available_at` of all that the texts use;
`open_price` (null without opens), `mark_price` (the close) and `volume` (null without) are adjusted alike."""


@dataclass(frozen=True)
class FeatureReport:
    """What building the states left out."""

    num_states: int
    num_articles: int
    num_articles_after_last_decision: int
    num_articles_beyond_budget: int
    """Counted once for each state that would have shown it."""


def build_market_states(
    prices: pl.DataFrame, news: pl.DataFrame, *, digest_sessions: int, digest_chars: int, article_chars: int
) -> tuple[dict[str, pl.DataFrame], FeatureReport]:
    """Build the states of every symbol in `prices`; the first 59 sessions of each only warm indicators up.

    Returns:
        For each symbol a table with the columns of `MARKET_STATE`, ascending in session, and a report.

    Raises:
        DataError: when a symbol has too few sessions.
    """
    states: dict[str, pl.DataFrame] = {}
    num_late = num_left_out = 0
    for (symbol,), own in prices.group_by("symbol", maintain_order=True):
        own_news = news.filter(pl.col("symbol") == symbol)
        states[str(symbol)], late, left_out = _build_symbol(
            str(symbol), own, own_news, digest_sessions, digest_chars, article_chars
        )
        num_late, num_left_out = num_late + late, num_left_out + left_out
    num_states = sum(table.height for table in states.values())
    return states, FeatureReport(num_states, news.height, num_late, num_left_out)


def data_hash(states: Mapping[str, pl.DataFrame]) -> str:
    """sha256 over all market states, so that two runs can tell whether they read the same data."""
    digest = sha256()
    for symbol in sorted(states):
        digest.update(states[symbol].write_csv(float_precision=12).encode())
    return digest.hexdigest()


def _build_symbol(
    symbol: str,
    prices: pl.DataFrame,
    news: pl.DataFrame,
    digest_sessions: int,
    digest_chars: int,
    article_chars: int,
) -> tuple[pl.DataFrame, int, int]:
    if prices.height < WARM_UP + 1:
        raise DataError(
            f"{symbol} has {prices.height} sessions of prices; indicators need {WARM_UP - 1} before the first state"
        )
    prices = prices.sort("session")
    sessions = prices.select("session", pl.col("available_at").alias("decided_at"))
    aligned, num_late = align_news_to_decisions(news, sessions)
    digests = _digest_news(aligned, sessions, digest_sessions, digest_chars, article_chars)
    states = (
        adjusted_prices(prices)
        .join(compute_indicators(prices), on="session", maintain_order="left")
        .join(digests, on="session", maintain_order="left")
        .with_columns(known_at=pl.max_horizontal("available_at", "news_known_at"))
        .slice(WARM_UP - 1)
    )
    table = states.select(
        "symbol",
        "session",
        pl.col("available_at").alias("decided_at"),
        "known_at",
        pl.Series("market_text", [describe_market(row) for row in states.iter_rows(named=True)], dtype=pl.String),
        "news_text",
        pl.col("adj_open").alias("open_price"),
        pl.col("adj_close").alias("mark_price"),
        pl.col("adj_volume").alias("volume"),
    )
    return table.cast(MARKET_STATE), num_late, int(states["left_out"].sum())  # type: ignore[arg-type]


def _digest_news(
    aligned: pl.DataFrame, sessions: pl.DataFrame, digest_sessions: int, digest_chars: int, article_chars: int
) -> pl.DataFrame:
    """`session`, `news_text`, `news_known_at`, `left_out` of every session."""
    grouped = aligned.group_by("session", maintain_order=True).agg("headline", pl.col("available_at").max())
    by_session = sessions.join(grouped, on="session", how="left", maintain_order="left")
    daily = [list(reversed(headlines or [])) for headlines in by_session["headline"].to_list()]
    known = by_session["available_at"].to_list()
    rows = []
    for day, session in enumerate(by_session["session"]):
        recent = range(day, max(day - digest_sessions, -1), -1)
        text, left_out = write_digest(
            [headline for d in recent for headline in daily[d]],
            max_chars=digest_chars,
            article_chars=article_chars,
        )
        times = [known[d] for d in recent if known[d] is not None]
        rows.append((session, text, max(times, default=None), left_out))
    schema: Schema = {"session": pl.Date, "news_text": pl.String, "news_known_at": UTC, "left_out": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def describe_market(row: Mapping[str, float | None]) -> str:
    """Indicators in words and rounded numbers, the same for every price level.

    Raises:
        DataError: when an indicator is missing past the warm-up.
    """
    missing = [name for name in ("return_20", "rsi_14", "macd", "range_60") if row[name] is None]
    if missing:
        raise DataError(
            f"{row['symbol']} {row['session']}: {', '.join(missing)} could not be computed; "
            "look for constant prices in the 60 sessions before"
        )
    parts = [f"{days}d {row[f'return_{days}']:+.1%}" for days in (1, 5, 20)]
    parts += [
        f"volatility {row['volatility_20']:.1%}",
        f"RSI {row['rsi_14']:.0f}",
        f"MACD {row['macd']:+.1%}",
        f"range {row['range_60']:.0%}",
    ]
    if row["volume_ratio"] is not None:
        parts.append(f"volume {row['volume_ratio']:.1f}x")
    return ", ".join(parts)
