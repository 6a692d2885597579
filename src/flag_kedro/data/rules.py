"""The rules of the two tables, and every violation of them as a row of one table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from flag_kedro.data.calendar import regular_calendar
from flag_kedro.data.schema import NEWS, PRICES, Schema

if TYPE_CHECKING:
    import pandera.polars as pa

VIOLATION: Schema = {
    "table": pl.String,
    "row": pl.UInt32,
    "symbol": pl.String,
    "at": pl.String,
    "column": pl.String,
    "value": pl.String,
    "rule": pl.String,
}
"""`row` counts from 0 in the table as it came; null where no single row is to blame. `at` is the session, or the time
an article was published."""
PRICE_KEYS = ("symbol", "session")
NEWS_KEYS = ("symbol", "published_at")
FEW = 5
"""Days out of the calendar of a symbol that may be wrong by themselves; with more, the calendar is."""


@dataclass(frozen=True)
class PriceRules:
    """What the rules of prices depend on."""

    expect: Callable[[pl.DataFrame], pl.DataFrame]
    """From prices to `symbol`, `session`, `closes_at` (UTC) of every session that their symbols should have, from the
    first price of each on."""
    now: datetime
    """Time of the run (UTC): a session that closes later has no price yet."""
    max_gap: Mapping[str, int]
    """By symbol, the sessions in a row that may be missing."""
    max_jump: float
    """Largest fall of `adj_close` from one row to the next, largest rise by the same factor, and how far open, high and
    low may be from the close."""
    max_jumps: Mapping[str, float] = field(default_factory=dict)
    """The same for some symbols, where it is another."""
    calendars: Mapping[str, str] = field(default_factory=dict)
    """Names of the symbols' calendars, for messages."""


def price_violations(prices: pl.DataFrame, rules: PriceRules) -> pl.DataFrame:
    """Every violation in a table of prices, in the columns of `VIOLATION`; no row if there is none.

    Raises:
        ParameterError: as `rules.expect`.
        DataError: as `rules.expect`.
    """
    from flag_kedro.data.columns import PRICES_SCHEMA  # imports pandera

    of_columns = _column_violations("prices", prices, PRICES_SCHEMA, PRICE_KEYS)
    if dict(prices.schema) != PRICES:
        return of_columns
    keyed = prices.with_row_index("row").drop_nulls(PRICE_KEYS)
    priced = keyed.filter((pl.col("close") > 0) & (pl.col("adj_close") > 0))  # others are listed already
    expected = rules.expect(prices)
    dated = keyed.join(expected, on=PRICE_KEYS, how="left", maintain_order="left")
    highest, lowest = pl.max_horizontal("open", "close"), pl.min_horizontal("open", "close")
    stranger, is_close = pl.col("closes_at").is_null(), pl.col("available_at") == pl.col("closes_at")
    strangers = dated.filter(stranger)
    rows = [
        (keyed, pl.col("high") < highest, "high", "high is below open or close"),
        (keyed, pl.col("low") > lowest, "low", "low is above open or close"),
        (dated, ~stranger & ~is_close, "available_at", "available_at is not the session's close"),
        (dated, pl.col("closes_at") > rules.now, "session", "the session has not closed yet"),
    ]
    limit = 1.0 / (1.0 - pl.col("symbol").replace_strict(dict(rules.max_jumps), default=rules.max_jump))
    for name in ("open", "high", "low"):
        far = ~(pl.col(name) / pl.col("close")).is_between(1.0 / limit, limit)
        rows.append((keyed, far, name, f"{name} is farther from the close than data.max_jump allows"))
    broken = [_row_violations("prices", *rule, PRICE_KEYS) for rule in rows]
    without_close = (pl.col("column") == "available_at") & pl.col("row").is_in(strangers["row"].implode())
    return pl.concat(
        [
            of_columns.filter(~without_close.fill_null(False)),  # a day that is no session has no close
            _repeats(keyed),
            _strangers(strangers, keyed, rules.calendars),
            *broken,
            _jumps(priced, limit),
            _factor_spikes(priced, limit),
            _gaps(keyed, expected, rules),
        ]
    )


def news_violations(news: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Every violation in a table of articles, in the columns of `VIOLATION`; no row if there is none."""
    from flag_kedro.data.columns import NEWS_SCHEMA  # imports pandera

    of_columns = _column_violations("news", news, NEWS_SCHEMA, NEWS_KEYS)
    if dict(news.schema) != NEWS:
        return of_columns
    keyed = news.with_row_index("row")
    early, late = pl.col("available_at") < pl.col("published_at"), pl.col("published_at") > now
    rows = [
        (keyed, early, "available_at", "available_at lies before published_at"),
        (keyed, late, "published_at", "published_at lies in the future"),
    ]
    return pl.concat([of_columns, *(_row_violations("news", *rule, NEWS_KEYS) for rule in rows)])


def _column_violations(
    name: str, table: pl.DataFrame, schema: "pa.DataFrameSchema", keys: tuple[str, ...]
) -> pl.DataFrame:
    """What pandera finds: missing and foreign columns, types, nulls and values out of range."""
    import pandera.polars as pa

    try:
        schema.validate(table, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases.select(
            row=pl.col("index").cast(pl.UInt32),
            column="column",
            value="failure_case",
            rule=pl.lit("rule ") + pl.col("check"),
        ).with_columns(value=pl.col("value").str.slice(0, 60))
        named = table.with_row_index("row").select(
            "row", *(pl.col(key) if key in table.columns else pl.lit(None).alias(key) for key in keys)
        )
        located = cases.join(named, on="row", how="left", maintain_order="left")
        return _as_violations(located, name, keys)
    return pl.DataFrame(schema=VIOLATION)


def _row_violations(
    name: str, table: pl.DataFrame, broken: pl.Expr, column: str, rule: str, keys: tuple[str, ...]
) -> pl.DataFrame:
    value = _in_words(column, table.schema[column])
    rows = table.filter(broken).with_columns(column=pl.lit(column), value=value, rule=pl.lit(rule))
    return _as_violations(rows, name, keys)


def _as_violations(rows: pl.DataFrame, name: str, keys: tuple[str, ...]) -> pl.DataFrame:
    symbol, at = keys
    when = _in_words(at, rows.schema[at]).alias("at")
    return rows.select(pl.lit(name).alias("table"), "row", symbol, when, "column", "value", "rule").cast(VIOLATION)  # type: ignore[arg-type]


def _in_words(column: str, dtype: pl.DataType) -> pl.Expr:
    """A value as text; times without fractions of a second."""
    if isinstance(dtype, pl.Datetime):
        return pl.col(column).dt.strftime("%Y-%m-%d %H:%M:%S UTC")
    return pl.col(column).cast(pl.String)


def _repeats(keyed: pl.DataFrame) -> pl.DataFrame:
    """Rows that tell a session again: of equal ones the later are to blame, of others no single one is."""
    equal = ~pl.struct(pl.exclude("row")).is_first_distinct()
    again = _row_violations("prices", keyed, equal, "session", "the session appears twice, in equal rows", PRICE_KEYS)
    distinct = keyed.filter(~equal)
    differing = distinct.filter(pl.struct(PRICE_KEYS).is_duplicated()).unique(PRICE_KEYS, maintain_order=True)
    rows = differing.with_columns(
        row=pl.lit(None, dtype=pl.UInt32),
        column=pl.lit("session"),
        value=pl.lit(None, dtype=pl.String),
        rule=pl.lit("the session appears twice, in rows that differ"),
    )
    return pl.concat([again, _as_violations(rows, "prices", PRICE_KEYS)])


def _strangers(strangers: pl.DataFrame, keyed: pl.DataFrame, calendars: Mapping[str, str]) -> pl.DataFrame:
    """Rows of days on which the exchange was closed; where there are many, the calendar is to blame and no single row.

    Args:
        strangers: the rows.
        keyed: all rows.
        calendars: of the symbols.
    """
    num_rows = dict(keyed["symbol"].value_counts().iter_rows())
    parts = [pl.DataFrame(schema=VIOLATION)]
    for (symbol,), rows in strangers.group_by("symbol", maintain_order=True):
        calendar = calendars.get(str(symbol), "the symbol's calendar")
        many = rows.height > FEW and rows.height > 0.01 * num_rows[symbol]
        rule = f"is no session of {regular_calendar(calendar)}, or lies after its delisting"
        if symbol in calendars:
            rule += f"; {_calendar_hint(str(symbol), calendar, rows['session'], many=many)}"
        labelled = rows.with_columns(
            row=pl.lit(None, dtype=pl.UInt32) if many else pl.col("row"),
            column=pl.lit("session"),
            value=_in_words("session", pl.Date()),
            rule=pl.lit(rule),
        )
        parts.append(_as_violations(labelled, "prices", PRICE_KEYS))
    return pl.concat(parts)


def _calendar_hint(symbol: str, calendar: str, days: pl.Series, *, many: bool) -> str:
    if not many:
        on = " ".join(day.isoformat() for day in days.unique().sort())
        return f"if its exchange did trade then, set data.extra_sessions.{regular_calendar(calendar)}={on}"
    always = "24/7" if {6, 7} <= set(days.dt.weekday()) else "24/5"
    return f"if it trades elsewhere, set data.calendar.{symbol}={always}, or the code of its exchange, such as XHKG"


def _jumps(keyed: pl.DataFrame, limit: pl.Expr) -> pl.DataFrame:
    """Rows whose adjusted close is too far from the one before; one that the next takes back is to blame alone."""
    part = pl.min_horizontal("ratio", 1.0 / pl.col("ratio")).min().over("symbol")  # of the price that the move leaves
    enough = pl.min_horizontal(1.0 - (part * 0.9).round_sig_figs(1), pl.lit(1.0 - 1e-9)).round(9)
    rows = (
        _with_moves(keyed, pl.col("adj_close"), limit)
        .filter("far")
        .with_columns(
            row=pl.when("spike").then("row"),
            column=pl.lit("adj_close"),
            value=pl.format("{} times the price before", pl.col("ratio").round(4)),
            rule=pl.when("spike")
            .then(pl.lit("a jump that the next session takes back; a wrong price? If it happened, set "))
            .otherwise(pl.lit("a jump beyond data.max_jump; a split that adj_close lacks? If it happened, set "))
            + pl.format("data.max_jump.{}={}", "symbol", enough),
        )
    )
    return _as_violations(rows, "prices", PRICE_KEYS)


def _factor_spikes(keyed: pl.DataFrame, limit: pl.Expr) -> pl.DataFrame:
    """Rows whose factor adj_close / close jumps and comes back: a close in other units; splits change it for good."""
    moved = _with_moves(keyed, pl.col("adj_close") / pl.col("close"), limit)
    jumps = _with_moves(keyed, pl.col("adj_close"), limit).filter("far")  # listed by _jumps already
    rows = (
        moved.filter("spike")
        .join(jumps, on="row", how="anti", maintain_order="left")
        .with_columns(
            column=pl.lit("close"),
            value=pl.format("{} times the factor before", pl.col("ratio").round(4)),
            rule=pl.lit("adj_close / close jumps and the next session takes it back; one of both is wrong"),
        )
    )
    return _as_violations(rows, "prices", PRICE_KEYS)


def _with_moves(keyed: pl.DataFrame, value: pl.Expr, limit: pl.Expr) -> pl.DataFrame:
    """Rows in order with how many times the value before theirs is (`ratio`), whether that is `far`, and a `spike`.

    A spike is a far move that the next row takes back; that row itself is not far then. Of spikes one behind the other
    every second one is such a way back.
    """
    ratio = (value / value.shift(1)).over("symbol")
    within = pl.col("ratio").is_between(1.0 / limit, limit)
    back = (pl.col("ratio") * pl.col("ratio").shift(-1).over("symbol")).is_between(1.0 / limit, limit)
    moved = keyed.sort(PRICE_KEYS).with_columns(ratio=ratio).with_columns(far=(~within).fill_null(False))
    moved = moved.with_columns(turns=(pl.col("far") & back).fill_null(False))
    moved = moved.with_columns(run=pl.col("turns").rle_id().over("symbol"))
    even = pl.int_range(pl.len()).over("symbol", "run") % 2 == 0
    moved = moved.with_columns(spike=pl.col("turns") & even)
    taken_back = pl.col("spike").shift(1, fill_value=False).over("symbol")
    return moved.with_columns(far=pl.col("spike") | (pl.col("far") & ~pl.col("turns") & ~taken_back))


def _gaps(keyed: pl.DataFrame, expected: pl.DataFrame, rules: PriceRules) -> pl.DataFrame:
    """Stretches of expected sessions without a price that are longer than allowed."""
    allowed = pl.col("symbol").replace_strict(dict(rules.max_gap), default=0, return_dtype=pl.Int64)
    due = (
        expected.filter(pl.col("closes_at") <= rules.now)
        .sort(PRICE_KEYS)
        .with_columns(number=pl.int_range(pl.len()).over("symbol"))
    )
    missing = due.join(keyed, on=PRICE_KEYS, how="anti", maintain_order="left")
    stretches = (
        missing.with_columns(stretch=pl.col("number") - pl.int_range(pl.len()).over("symbol"))
        .group_by("symbol", "stretch", maintain_order=True)
        .agg(pl.col("session").first(), pl.col("session").last().alias("last"), pl.len().cast(pl.Int64).alias("len"))
        .filter(pl.col("len") > allowed)
    )
    rows = stretches.with_columns(
        row=pl.lit(None, dtype=pl.UInt32),
        column=pl.lit("session"),
        value=pl.lit(None, dtype=pl.String),
        rule=pl.when(pl.col("len") == 1)
        .then(pl.lit("a session without a price"))
        .otherwise(pl.format("{} sessions without a price, up to {}", "len", "last"))
        + pl.format("; data.max_gap allows {} in a row. If the source lacks them, set data.max_gap={}", allowed, "len"),
    )
    return _as_violations(rows, "prices", PRICE_KEYS)
