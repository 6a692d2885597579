"""Market states: for each symbol and session a text of all that was known at its decision, and prices to trade at."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from hashlib import sha256
from types import MappingProxyType
from typing import NotRequired, TypedDict, Unpack

import polars as pl

from flag_kedro.data.schema import UTC, Schema
from flag_kedro.data.table_hash import hash_table
from flag_kedro.data.universe import with_membership
from flag_kedro.errors import DataError
from flag_kedro.features.ablation import Ablation, ablate_articles, ablate_states
from flag_kedro.features.alignment import align_news_to_decisions, candidate_articles
from flag_kedro.features.digest import NO_NEWS, read_articles, write_digests
from flag_kedro.features.indicators import WARM_UP, WarmUp, adjusted_prices, compute_indicators, num_unseen

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

NEEDED = ("return_1", "return_5", "return_20", "volatility_20", "rsi_14", "macd", "range_60")
"""Indicators that a state cannot do without, once its symbol has the sessions for them."""
UNKNOWN = "unknown"
"""Stands where the value of an indicator without enough sessions would."""
FIRST_NEWS = "1d"
"""How far the news of a symbol's very first session reach back: there is no earlier decision since which they count."""
Names = Mapping[str, Sequence[str]]
NO_NAMES: Names = MappingProxyType({})
BATCH_ROWS = 150_000
"""Sessions, and articles for each state that could show them, worked on at once; more are faster, but take memory."""


class StateSettings(TypedDict):
    """What a state shows of the news: the fields of `FeaturesConfig`."""

    digest_sessions: int
    """How many sessions of news a state shows."""
    digest_chars: int
    """Budget of a state's news in characters."""
    article_chars: int
    """Most characters of one article."""
    min_article_chars: NotRequired[int]
    """Fewest characters to which an article is cut; 80 when left out."""
    warm_up: NotRequired[WarmUp]
    """Whether states begin with the first session or when every indicator has its history, as they do when left out."""
    ablation: NotRequired[Ablation]
    """What the states lack, nothing when left out; see `ablation.ablate_articles`."""
    ablation_seed: NotRequired[int]
    """Seed of its draws, 0 when left out."""


@dataclass(frozen=True)
class FeatureReport:
    """How many states were built, and how many articles they show and leave out."""

    num_states: int
    num_articles: int
    num_articles_after_last_decision: int
    """Not available before any decision of their symbol, or of a symbol without one."""
    num_articles_beyond_budget: int
    """Left out of a state that would have shown it; counted once for each such state."""
    num_articles_cut: int
    """Shown, but not whole; counted once for each such state."""


def build_market_states(
    prices: pl.DataFrame,
    news: pl.DataFrame,
    *,
    names: Names = NO_NAMES,
    universe: pl.DataFrame | None = None,
    **settings: Unpack[StateSettings],
) -> tuple[dict[str, pl.DataFrame], FeatureReport]:
    """Build the states of every symbol in `prices`.

    Under `warm_up` `full` the first 59 sessions of each only warm indicators up. Under `partial` they have states too,
    in which indicators without enough sessions are `UNKNOWN`; later states are the same. There a symbol's first
    session shows the news of one day, since there was no decision before it.

    Args:
        prices: the validated table; a row is a session that its symbol has, whatever lies between two.
        news: the validated table.
        names: what articles call a symbol; those that mention it come first in a digest.
        universe: who belonged to it when (`data.universe`); without a row everybody always did.
        **settings: what a state shows of the news, the fields of `FeaturesConfig`.

    Returns:
        For each symbol a table with the columns of `MARKET_STATE`, ascending in session, and a report.

    Raises:
        DataError: when a symbol has too few sessions, or an indicator cannot be computed.
    """
    states, reports = build_by_symbol(prices, news, names=names, universe=universe, **settings)
    return states, add_reports(reports.values())


def build_by_symbol(
    prices: pl.DataFrame,
    news: pl.DataFrame,
    *,
    names: Names,
    universe: pl.DataFrame | None = None,
    since: date | None = None,
    **settings: Unpack[StateSettings],
) -> tuple[dict[str, pl.DataFrame], dict[str, FeatureReport]]:
    """`build_market_states` with a report for each symbol.

    With `since` states of earlier sessions are left out; the others are the same, for each reads earlier prices and
    the articles of its own last sessions only. Every symbol must have a state since then.

    Raises:
        DataError: as `build_market_states`.
    """
    ablation, seed = settings.get("ablation", "none"), settings.get("ablation_seed", 0)
    all_symbols = list(dict.fromkeys([*prices["symbol"].unique(maintain_order=True), *names]))
    states: dict[str, pl.DataFrame] = {}
    reports: dict[str, FeatureReport] = {}
    for symbols in _batches(prices, news, settings):
        in_batch = pl.col("symbol").is_in(symbols)
        articles = read_articles(news.filter(in_batch), names)
        articles = ablate_articles(articles, all_symbols, names, ablation, seed)
        table, batch_reports = _build_batch(prices.filter(in_batch), articles, settings, since)
        table = with_membership(ablate_states(table, ablation), universe)
        tables = table.partition_by("symbol", as_dict=True, maintain_order=True)
        states |= {symbol: tables[symbol,].rechunk() for symbol in symbols}
        reports |= {symbol: batch_reports[symbol] for symbol in symbols}
    return states, reports


def add_reports(reports: Iterable[FeatureReport]) -> FeatureReport:
    """Sum of several reports, field by field."""
    listed = list(reports)
    return FeatureReport(*(sum(getattr(report, field.name) for report in listed) for field in fields(FeatureReport)))


def data_hash(states: Mapping[str, pl.DataFrame]) -> str:
    """sha256 over all market states, so that two runs can tell whether they read the same data."""
    digest = sha256()
    for symbol in sorted(states):
        digest.update(hash_table(states[symbol]))
    return digest.hexdigest()


def describe_market(indicators: pl.DataFrame, warming: pl.Series | None = None) -> pl.Series:
    """One line for each row, the same for every price level: `1d +0.4%, ..., RSI 55, ..., volume 1.2x`.

    Args:
        indicators: `symbol`, `session`, `volume` where `warming` is given, and the columns of `compute_indicators`.
        warming: for each row whether it is among its symbol's first 59, in which an indicator may be `UNKNOWN`; None
            for none.

    Raises:
        DataError: when an indicator is missing that has enough sessions.
    """
    _refuse_missing(indicators if warming is None else indicators.filter(~warming))
    percent = {name: 100.0 * pl.col(name) for name in ("return_1", "return_5", "return_20", "volatility_20", "macd")}
    line = pl.format(
        "1d {}, 5d {}, 20d {}, volatility {}, RSI {}, MACD {}, range {}{}",
        *(_shown(_rounded(percent[f"return_{days}"], 1, plus="+"), "%") for days in (1, 5, 20)),
        _shown(_rounded(percent["volatility_20"], 1), "%"),
        _shown(_rounded(pl.col("rsi_14"), 0)),
        _shown(_rounded(percent["macd"], 1, plus="+"), "%"),
        _shown(_rounded(100.0 * pl.col("range_60"), 0), "%"),
        pl.when(pl.col("volume_ratio").is_null())
        .then(pl.lit("") if warming is None else _volume_lacking(warming))
        .otherwise(pl.format(", volume {}x", _rounded(pl.col("volume_ratio"), 1).fill_null(""))),
    )
    return indicators.select(market_text=line).to_series()


def _shown(value: pl.Expr, unit: str = "") -> pl.Expr:
    """The text of a value with its unit, or `UNKNOWN`."""
    return pl.when(value.is_null()).then(pl.lit(UNKNOWN)).otherwise(pl.format(f"{{}}{unit}", value.fill_null("")))


def _volume_lacking(warming: pl.Series) -> pl.Expr:
    """What is said of a volume ratio that is not there: nothing where the session has no volume."""
    return (
        pl.when(pl.lit(warming) & pl.col("volume").is_not_null())
        .then(pl.lit(f", volume {UNKNOWN}"))
        .otherwise(pl.lit(""))
    )


def _batches(prices: pl.DataFrame, news: pl.DataFrame, settings: StateSettings) -> Iterator[list[str]]:
    """Symbols in their order, as many at once as `BATCH_ROWS` allows.

    Raises:
        DataError: when a symbol has too few sessions.
    """
    digest_sessions, unseen = settings["digest_sessions"], num_unseen(settings.get("warm_up", "full"))
    sessions = prices.group_by("symbol", maintain_order=True).agg(num=pl.len())
    for symbol, num in sessions.filter(pl.col("num") < unseen + 2).rows():
        reason = (
            f"indicators need {unseen} before the first state; features.warm_up=partial does without"
            if unseen
            else "a symbol needs two states to trade"
        )
        raise DataError(f"{symbol} has {num} sessions of prices; {reason}")
    articles = dict(news.group_by("symbol").len().rows())
    batch: list[str] = []
    size = 0
    for symbol, num in sessions.rows():
        rows = num + digest_sessions * articles.get(symbol, 0)
        if batch and size + rows > BATCH_ROWS:
            yield batch
            batch, size = [], 0
        batch.append(symbol)
        size += rows
    if batch:
        yield batch


def _build_batch(
    prices: pl.DataFrame, articles: pl.DataFrame, settings: StateSettings, since: date | None = None
) -> tuple[pl.DataFrame, dict[str, FeatureReport]]:
    """States of some symbols in one table, and a report for each; `articles` as `digest.read_articles` gives them."""
    warm_up = settings.get("warm_up", "full")
    prices = prices.sort("symbol", "session").with_row_index("state")
    row = pl.col("state") - pl.col("state").min().over("symbol")
    first = pl.col("state").min().over("symbol") + num_unseen(warm_up)
    if since is not None:
        first = pl.max_horizontal(first, pl.col("state").filter(pl.col("session") >= since).min().over("symbol"))
    sessions = prices.select(
        "symbol",
        "session",
        "state",
        pl.col("available_at").alias("decided_at"),
        first=first,
        end=pl.col("state").max().over("symbol") + 1,
        warming=row < WARM_UP - 1,
        opening=row == 0,
    )
    aligned, _ = align_news_to_decisions(articles, sessions)
    shown = candidate_articles(aligned, settings["digest_sessions"])
    if warm_up == "partial":
        shown = _without_prehistory(shown, sessions)
    digests = write_digests(
        shown.select("state", "text"),
        digest_chars=settings["digest_chars"],
        article_chars=settings["article_chars"],
        min_article_chars=settings.get("min_article_chars", 80),
    )
    last_shown = shown.group_by("state").agg(news_known_at=pl.col("available_at").max())
    table = (
        adjusted_prices(prices)
        .hstack(_indicators(prices, warm_up))
        .hstack(sessions.select("warming"))
        .filter(sessions["state"] >= sessions["first"])
        .join(digests, on="state", how="left", maintain_order="left")
        .join(last_shown, on="state", how="left", maintain_order="left")
    )
    states = table.select(
        "symbol",
        "session",
        pl.col("available_at").alias("decided_at"),
        pl.max_horizontal("available_at", "news_known_at").alias("known_at"),
        describe_market(table, table["warming"] if warm_up == "partial" else None),
        pl.col("news_text").fill_null(NO_NEWS),
        pl.col("adj_open").alias("open_price"),
        pl.col("adj_close").alias("mark_price"),
        pl.col("adj_volume").alias("volume"),
    )
    return states.cast(MARKET_STATE), _report(table, articles, aligned)  # type: ignore[arg-type]


def _without_prehistory(shown: pl.DataFrame, sessions: pl.DataFrame) -> pl.DataFrame:
    """Leave out of a symbol's warm-up what was available more than `FIRST_NEWS` before its first decision.

    Later states show what they show under `full`.
    """
    warming = sessions.filter("warming")["state"]
    old = pl.col("opening") & (pl.col("available_at") <= pl.col("decided_at").dt.offset_by(f"-{FIRST_NEWS}"))
    return shown.filter(~(old & pl.col("state").is_in(warming.implode())))


def _indicators(prices: pl.DataFrame, warm_up: WarmUp) -> pl.DataFrame:
    """Indicators in the rows of `prices`."""
    tables = [compute_indicators(rows, warm_up) for rows in prices.partition_by("symbol", maintain_order=True)]
    return pl.concat(tables).drop("session")


def _report(table: pl.DataFrame, articles: pl.DataFrame, aligned: pl.DataFrame) -> dict[str, FeatureReport]:
    """Report of each symbol of `table`."""
    given, used = (dict(rows.group_by("symbol").len().rows()) for rows in (articles, aligned))
    counts = table.group_by("symbol").agg(pl.len(), pl.col("left_out").sum(), pl.col("cut").sum())
    return {
        symbol: FeatureReport(num, given.get(symbol, 0), given.get(symbol, 0) - used.get(symbol, 0), left_out, cut)
        for symbol, num, left_out, cut in counts.rows()
    }


def _rounded(value: pl.Expr, digits: int, *, plus: str = "") -> pl.Expr:
    """`value` with 0 or 1 digits behind the point, ties to even; zero is never negative."""
    tenths = (value * 10**digits).round(mode="half_to_even").cast(pl.Int64)
    sign = pl.when(tenths < 0).then(pl.lit("-")).otherwise(pl.lit(plus))
    size = tenths.abs()
    return pl.format("{}{}.{}", sign, size // 10, size % 10) if digits else pl.format("{}{}", sign, size)


def _refuse_missing(indicators: pl.DataFrame) -> None:
    """Raise for the first row that lacks an indicator."""
    holes = indicators.filter(pl.any_horizontal(pl.col(NEEDED).is_null()))
    if holes.height:
        row = holes.row(0, named=True)
        missing = [name for name in NEEDED if row[name] is None]
        raise DataError(
            f"{row['symbol']} {row['session']}: {', '.join(missing)} could not be computed; "
            "look for constant prices in the 60 sessions before"
        )
