"""Articles from raw columns: their symbols, their times, and when each becomes available."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from flag_kedro.data.calendar import available_from_date, exchange_zone
from flag_kedro.data.config import NewsConfig
from flag_kedro.data.files.delimited import ROW
from flag_kedro.data.files.parsing import our_columns, read_texts
from flag_kedro.data.files.problems import Problem, broken_values, quarantine_rows, unreadable_values
from flag_kedro.data.files.tables import compact, refuse
from flag_kedro.data.files.times import read_times, time_hint, zone_in_name
from flag_kedro.data.form import TableForm
from flag_kedro.data.schema import NEWS, UTC, Schema
from flag_kedro.errors import DataError

KEY = "news.columns"
OPTIONAL_TEXTS = ("body", "source", "url")
TEXTS = ("headline", *OPTIONAL_TEXTS)
FNSPID = {
    "published_at": "Date",
    "headline": "Article_title",
    "symbol": "Stock_symbol",
    "body": "Article",
    "source": "Publisher",
    "url": "Url",
}
"""Columns of FNSPID (huggingface.co/datasets/Zihan1004/FNSPID), which need no mapping."""
PUBLISHED = "where a date or time belongs, such as 2024-01-31 or 2024-01-31 16:05:00 UTC"
ARTICLES: Schema = {
    "symbol": pl.String,
    "wall": pl.Datetime("us"),
    "instant": UTC,
    "dated": pl.Boolean,
    "midnight": pl.Boolean,
    **dict.fromkeys(TEXTS, pl.String),
}
"""Columns of articles whose availability is still open: `wall` as written, `instant` (UTC) where its zone is known,
`dated` where only a date is, `midnight` where that date is written as a time of 00:00:00."""


@dataclass(frozen=True)
class Articles:
    """Articles of a file or a dataset about the wanted symbols."""

    table: pl.DataFrame
    """Columns of `ARTICLES`, in the order they came."""
    rejected: pl.DataFrame
    """Rows that were left out because the user asked for it: columns of `validation.REJECTED`."""
    columns: dict[str, str]
    """Which of its columns they come from: ours to theirs."""


@dataclass(frozen=True)
class ArticleCounts:
    """How many articles have a time of day; fields as the data report has them."""

    articles_with_time: int
    articles_with_date_only: int
    of_these_written_as_midnight: int
    of_these_midnight_in_another_zone: int


def article_columns(news: NewsConfig, table_columns: Sequence[str], table_name: str) -> dict[str, str]:
    """Which column is which of ours; those of FNSPID need no mapping.

    Args:
        news: parameters.
        table_columns: columns of the table or dataset.
        table_name: for messages.

    Returns:
        Ours to theirs.

    Raises:
        DataError: as `our_columns`.
    """
    is_fnspid = not news.columns and {FNSPID[name] for name in ("published_at", "headline", "symbol")} <= set(
        table_columns
    )
    mapping = (
        {name: theirs for name, theirs in FNSPID.items() if theirs in table_columns} if is_fnspid else news.columns
    )
    return our_columns(
        mapping, table_columns, ("headline", "published_at"), ("symbol", *OPTIONAL_TEXTS), table_name, KEY
    )


def take_articles(
    piece: pl.DataFrame,
    symbols: pl.Series,
    columns: Mapping[str, str],
    form: TableForm,
    table_name: str,
    *,
    quarantine: bool,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The articles of a piece; with `quarantine` without those whose time cannot be read.

    Args:
        piece: as `parse_articles`.
        symbols: as `parse_articles`.
        columns: as `parse_articles`.
        form: as `parse_articles`.
        table_name: for messages.
        quarantine: leave out rows that cannot be read instead of refusing all.

    Returns:
        Columns of `ARTICLES`, and of `validation.REJECTED`.

    Raises:
        DataError: listing what cannot be read and may not be left out.
    """
    parsed, problems = parse_articles(piece, symbols, columns, form, table_name)
    articles, rejected, remaining = quarantine_rows(
        "news", parsed, piece, columns["published_at"], problems, quarantine=quarantine
    )
    refuse(remaining)
    return compact(articles), rejected


def parse_articles(
    piece: pl.DataFrame, symbols: pl.Series, columns: Mapping[str, str], form: TableForm, table_name: str
) -> tuple[pl.DataFrame, list[Problem]]:
    """Columns of `ARTICLES` for every row of `piece`, and what could not be read.

    A time of exactly 00:00:00 counts as a date: data sets write it where they do not know the time, and the date is the
    later, safe reading. Of a wall time that occurs twice, when clocks go back, the later one is taken.

    Args:
        piece: `ROW` and the columns that `columns` names.
        symbols: whose article each row is.
        columns: ours to theirs.
        form: how their times are written.
        table_name: for messages.

    Raises:
        DataError: when a column's type holds no times or no texts.
    """
    raw, rows = piece[columns["published_at"]], piece[ROW]
    times, timezone = read_times(raw, table_name, form), form.timezone
    clock = pl.col("wall") != pl.col("wall").dt.truncate("1d")
    times = times.with_columns(dated=~clock, midnight=~clock & pl.col("timed"))
    naive = times.select(~pl.col("dated") & pl.col("instant").is_null()).to_series().fill_null(False)
    problems = unreadable_values(
        table_name, raw, rows, times["wall"], lambda values: f"{PUBLISHED}; {time_hint(values, form)}"
    )
    if timezone is None:
        zone = zone_in_name(raw.name) or "America/New_York"
        rule = f"a time without its zone; say in which it was written: news.timezone={zone}, or which it is"
        problems += broken_values(table_name, raw, rows, naive, rule, single=False)
    else:
        local = pl.col("wall").dt.replace_time_zone(timezone, ambiguous="latest", non_existent="null")
        times = times.with_columns(
            instant=pl.coalesce("instant", pl.when(naive).then(local.dt.convert_time_zone("UTC")))
        )
        rule = f"a time that {timezone} skipped when its clocks went forward; correct it or write its offset"
        problems += broken_values(table_name, raw, rows, naive & times["instant"].is_null(), rule)
    texts = {name: read_texts(piece[columns[name]], table_name) for name in TEXTS if name in columns}
    table = times.with_columns(symbols.alias("symbol"), *(text.alias(name) for name, text in texts.items()))
    absent = [pl.lit(None, dtype=pl.String).alias(name) for name in TEXTS if name not in columns]
    return table.with_columns(absent).select(list(ARTICLES)), problems


def time_articles(
    articles: pl.DataFrame, date_only: str, timezone: str | None, calendar_of: Callable[[str], str]
) -> tuple[pl.DataFrame, ArticleCounts]:
    """The news table: an article with a time is available at that time, one with a date as `date_only` says.

    A time that is midnight in `timezone` or where the symbol is traded counts as that date: exports turn dates into
    times of another zone, and the date is the later, safe reading.

    Args:
        articles: columns of `ARTICLES`.
        date_only: `next_session` or `same_session`.
        timezone: zone that the articles' times may have been written in.
        calendar_of: exchange calendar of a symbol.

    Returns:
        Columns of `NEWS`, in no particular order, and counts for the data report.

    Raises:
        DataError: when an exchange has no session near the date of an article.
        ParameterError: when exchange_calendars does not know a calendar.
    """
    calendars = {symbol: calendar_of(symbol) for symbol in articles["symbol"].unique(maintain_order=True)}
    midnight = pl.col("wall").dt.replace_time_zone("UTC")
    articles = articles.with_columns(published_at=pl.coalesce("instant", midnight))
    parts = []
    for calendar in dict.fromkeys(calendars.values()):
        on_calendar = articles.filter(
            pl.col("symbol").is_in([symbol for symbol in calendars if calendars[symbol] == calendar])
        )
        for zone in filter(None, (timezone, exchange_zone(calendar))):
            on_calendar = _midnights_as_dates(on_calendar, zone)
        parts.append(_with_availability(on_calendar, calendar, date_only))
    table = pl.concat(parts or [articles.with_columns(available_at="published_at")])
    num_written, num_dated = int(articles["dated"].sum()), int(table["dated"].sum())
    counts = ArticleCounts(
        articles_with_time=table.height - num_dated,
        articles_with_date_only=num_dated,
        of_these_written_as_midnight=int(articles["midnight"].sum()),
        of_these_midnight_in_another_zone=num_dated - num_written,
    )
    return table.select(list(NEWS)).cast(NEWS), counts  # type: ignore[arg-type]


def _with_availability(articles: pl.DataFrame, calendar: str, date_only: str) -> pl.DataFrame:
    """Articles with times, then those with dates, each with `available_at`."""
    timed, dated = articles.filter(~pl.col("dated").fill_null(False)), articles.filter("dated")
    dates = dated["wall"].dt.date()
    usable_from = available_from_date(dates, calendar, date_only)
    if usable_from.null_count():
        raise DataError(
            f"news: {calendar} has no session soon after {dates.filter(usable_from.is_null())[0]}, so that an "
            "article of that date never becomes known; leave it out, or give its time"
        )
    late = dated.with_columns(available_at=pl.max_horizontal(usable_from, "published_at"))
    return pl.concat([timed.with_columns(available_at="published_at"), late])


def _midnights_as_dates(articles: pl.DataFrame, zone: str) -> pl.DataFrame:
    """`articles` of which those with a time that is midnight in `zone` carry the date there."""
    local = pl.col("instant").dt.convert_time_zone(zone).dt.replace_time_zone(None)
    is_midnight = (~pl.col("dated") & (local == local.dt.truncate("1d"))).fill_null(False)
    return articles.with_columns(
        wall=pl.when(is_midnight).then(local).otherwise("wall"), dated=pl.col("dated") | is_midnight
    )
