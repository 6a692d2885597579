"""Prices from a user's own tables: CSV, Parquet or JSON Lines."""

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from flag_kedro.data.calendar import exchange_sessions, exchange_zone
from flag_kedro.data.config import DataConfig
from flag_kedro.data.files.parsing import our_columns, read_numbers, read_texts, read_times
from flag_kedro.data.files.problems import Problem, broken_values, quarantine_rows, unreadable_values
from flag_kedro.data.files.tables import ROW, Table, find_tables, gather, open_table, pieces, refuse
from flag_kedro.data.schema import NEWS, PRICES, UTC
from flag_kedro.data.source import Raw
from flag_kedro.data.validation import REJECTED
from flag_kedro.errors import DataError

NUMBERS = ("open", "high", "low", "close", "volume", "adj_close")
KEY = "files.columns"
PRICE_NUMBER = "where a number belongs; write 1234.5 without thousands separators or units, leave unknown values empty"
PRICE_SESSION = "where a session's date belongs, such as 2024-01-31 (the year first)"

CalendarOf = Callable[[str], str]
"""Exchange calendar of a symbol."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class FilesConfig:
    """How the tables of prices that `data.path` names are to be read."""

    columns: dict[str, str] = Field(default_factory=dict)
    """Which columns of the files are ours: {session: Date, close: Close, adj_close: Adj Close}. A name that is the same
    needs no entry. Without a symbol column a file's name is its symbol."""
    adjusted: bool = False
    """Whether `close` is adjusted for splits and dividends already, so that there is no `adj_close` to read."""
    names: dict[str, str] = Field(default_factory=dict)
    """What articles call each symbol: {MSFT: Microsoft}. Articles that mention it come first in a prompt."""


def read_files(data: DataConfig, files: FilesConfig, calendar_of: CalendarOf) -> Raw:
    """Prices of the tables that `data.path` names; they have no articles of their own.

    A session is a date, or a time with zone, which then counts on the exchange's own date. `available_at` is the close
    of the session, null where the exchange has none on that day.

    With `data.quarantine` a row of which a value cannot be read is left out and kept in `Raw.rejected`.

    Raises:
        DataError: listing what cannot be put into our columns, by file, row and column; or a wanted symbol without
            rows.
        ParameterError: when `data.path` names no table.
    """
    assert data.path is not None  # DataConfig requires it for this source
    paths = find_tables(data.path, "data.path")
    tables = gather(paths, lambda path: _read_prices(path, data, files, calendar_of))
    prices, rejected = pl.concat(table for table, _ in tables), pl.concat(left_out for _, left_out in tables)
    if missing := sorted(set(data.symbols or ()) - set(prices["symbol"].unique())):
        available = _symbols_of(paths, files)
        raise DataError(
            f"data.symbols: no prices of {' '.join(missing)} in {data.path}; there are {' '.join(available[:100])}"
            + (f" and {len(available) - 100} more" if len(available) > 100 else "")
        )
    names = {symbol.upper(): (name,) for symbol, name in files.names.items()}
    report = {
        "files": {"tables": len(paths), "rows": prices.height, "adjusted": files.adjusted},
        "news": {"source": "own", "note": "tables of prices have no articles; news.source says where else to look"},
    }
    return Raw(_with_closes(prices, calendar_of), pl.DataFrame(schema=NEWS), names, report, rejected)


def symbol_of(table: Table, piece: pl.DataFrame, column: str | None) -> pl.Series:
    """Symbols of the rows in capitals; without a symbol column the file's name is the symbol.

    Raises:
        DataError: when the column's type holds no texts.
    """
    if column is None:
        return pl.repeat(table.stem.strip().upper(), piece.height, dtype=pl.String, eager=True).alias("symbol")
    return read_texts(piece[column], str(table.path)).str.strip_chars().str.to_uppercase().alias("symbol")


def holds_other_symbol(table: Table, column: str | None, wanted: Sequence[str] | None) -> bool:
    """Whether the file's name is its symbol, and none of the `wanted`."""
    return column is None and wanted is not None and table.stem.strip().upper() not in wanted


def _columns_of(table: Table, files: FilesConfig) -> dict[str, str]:
    needed = ("session", "close") if files.adjusted else ("session", "close", "adj_close")
    try:
        return our_columns(
            files.columns, table.columns, needed, ("symbol", "open", "high", "low", "volume"), str(table.path), KEY
        )
    except DataError as error:
        if files.adjusted or files.columns.get("adj_close", "adj_close") in table.columns:
            raise
        raise DataError(f"{error}; or set files.adjusted=true if close is adjusted for splits and dividends") from error


def _read_prices(
    path: Path, data: DataConfig, files: FilesConfig, calendar_of: CalendarOf
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of wanted symbols with the columns of `PRICES` but `available_at`, in the file's order; and the rejected."""
    table = open_table(path)
    columns = _columns_of(table, files)
    parts, left_out, problems = [_no_rows()], [pl.DataFrame(schema=REJECTED)], []
    if not holds_other_symbol(table, columns.get("symbol"), data.symbols):
        for piece in pieces(table, list(columns.values())):
            symbols = symbol_of(table, piece, columns.get("symbol"))
            if data.symbols is not None:
                is_wanted = symbols.is_in(data.symbols).fill_null(False)
                piece, symbols = piece.filter(is_wanted), symbols.filter(is_wanted)
            part, piece_problems = _parse_piece(table, piece, symbols, columns, calendar_of)
            part, rejected, remaining = quarantine_rows(
                "prices", part, piece, columns["session"], piece_problems, quarantine=data.quarantine
            )
            parts.append(part)
            left_out.append(rejected)
            problems += remaining
    refuse(problems)
    prices = pl.concat(parts)
    refuse(_mangled_order(table, prices))
    if files.adjusted:
        prices = prices.with_columns(adj_close="close")
    return prices.select(*(name for name in PRICES if name != "available_at")), pl.concat(left_out)


def _no_rows() -> pl.DataFrame:
    columns = {name: kind for name, kind in PRICES.items() if name != "available_at"}
    return pl.DataFrame(schema={ROW: pl.UInt32, **columns})


def _parse_piece(
    table: Table, piece: pl.DataFrame, symbols: pl.Series, columns: dict[str, str], calendar_of: CalendarOf
) -> tuple[pl.DataFrame, list[Problem]]:
    table_name = str(table.path)
    rows = piece[ROW].cast(pl.UInt32)
    problems = broken_values(table_name, symbols, rows, symbols.is_null(), "has no symbol")
    sessions, session_problems = _sessions(table, piece[columns["session"]], rows, symbols, calendar_of)
    problems += session_problems
    parsed = {ROW: rows, "symbol": symbols, "session": sessions}
    for name in NUMBERS:
        if name in columns:
            raw = piece[columns[name]]
            parsed[name] = read_numbers(raw, table_name).alias(name)
            problems += unreadable_values(table_name, raw, rows, parsed[name], PRICE_NUMBER)
    filled = pl.DataFrame(parsed)
    absent = [pl.lit(None, dtype=pl.Float64).alias(name) for name in NUMBERS if name not in columns]
    return filled.with_columns(absent).select(_no_rows().columns), problems


def _sessions(
    table: Table, raw: pl.Series, rows: pl.Series, symbols: pl.Series, calendar_of: CalendarOf
) -> tuple[pl.Series, list[Problem]]:
    """Dates of sessions, null where a problem is listed."""
    times = read_times(raw, str(table.path)).with_columns(symbol=symbols)
    problems = broken_values(table.path, raw, rows, raw.is_null(), f"has no {raw.name}")
    problems += unreadable_values(table.path, raw, rows, times["wall"], PRICE_SESSION)
    naive = times.select((pl.col("wall") != pl.col("wall").dt.truncate("1d")) & pl.col("instant").is_null())
    problems += broken_values(
        table.path,
        raw,
        rows,
        naive.to_series().fill_null(False),
        "a time without its zone; write the session's date alone, or the zone after the time (+00:00)",
        single=False,
    )
    sessions = times.select(pl.col("wall").dt.date().alias("session")).to_series()
    if times["instant"].null_count() < times.height:
        sessions = _local_dates(times, calendar_of)
        astray = _utc_midnight(times) & (sessions != times["instant"].dt.date())
        problems += broken_values(
            table.path,
            raw,
            rows,
            astray.fill_null(False),
            "midnight UTC, which is the evening before at the exchange; write the session's date alone",
            single=False,
        )
    return sessions, problems


def _local_dates(times: pl.DataFrame, calendar_of: CalendarOf) -> pl.Series:
    """Dates at each symbol's exchange; dates without zone as they are written."""
    zones = {symbol: exchange_zone(calendar_of(symbol)) for symbol in times["symbol"].drop_nulls().unique()}
    local = pl.col("wall").dt.date()
    for zone in sorted(set(zones.values())):
        symbols = [symbol for symbol in zones if zones[symbol] == zone]
        local_date = pl.col("instant").dt.convert_time_zone(zone).dt.date()
        local = (
            pl.when(pl.col("symbol").is_in(symbols) & pl.col("instant").is_not_null()).then(local_date).otherwise(local)
        )
    return times.select(session=local).to_series()


def _utc_midnight(times: pl.DataFrame) -> pl.Series:
    return times["instant"] == times["instant"].dt.truncate("1d")


def _mangled_order(table: Table, prices: pl.DataFrame) -> list[str]:
    """One line for each symbol whose sessions neither rise nor fall."""
    steps = prices.with_columns(
        step=pl.col("session").diff().over("symbol").dt.total_days(),
        way=(pl.col("session").last() - pl.col("session").first()).over("symbol").dt.total_days().sign(),
    )
    both = steps.filter((pl.col("step") > 0).any().over("symbol") & (pl.col("step") < 0).any().over("symbol"))
    against = both.filter(pl.col("step").sign() == -pl.when(pl.col("way") == 0).then(1).otherwise(pl.col("way")))
    first = against.group_by("symbol", maintain_order=True).first()
    return [
        f"{table.path} row {row}: {symbol} {session} is out of order; its rows neither rise nor fall by session, so "
        "the file may be mangled. Sort it, oldest or newest first"
        for row, symbol, session in first.select(ROW, "symbol", "session").iter_rows()
    ]


def _symbols_of(paths: Sequence[Path], files: FilesConfig) -> list[str]:
    """Every symbol in the files."""
    symbols: set[str] = set()
    for path in paths:
        table = open_table(path)
        column = _columns_of(table, files).get("symbol")
        if column is None:
            symbols.add(table.stem.strip().upper())
        else:
            for piece in pieces(table, [column]):
                symbols |= set(symbol_of(table, piece, column).drop_nulls().unique())
    return sorted(symbols)


def _with_closes(prices: pl.DataFrame, calendar_of: CalendarOf) -> pl.DataFrame:
    """`prices` with `available_at`; one calendar serves all symbols that trade on it."""
    calendars = {symbol: calendar_of(symbol) for symbol in prices["symbol"].unique(maintain_order=True)}
    parts = [prices.clear().with_columns(available_at=pl.lit(None, dtype=UTC))]
    for calendar in dict.fromkeys(calendars.values()):
        on_calendar = prices.filter(
            pl.col("symbol").is_in([symbol for symbol in calendars if calendars[symbol] == calendar])
        )
        sessions = exchange_sessions(calendar, on_calendar["session"].min(), on_calendar["session"].max())  # type: ignore[arg-type]
        closes = sessions.select("session", available_at="closes_at")
        parts.append(on_calendar.join(closes, on="session", how="left", maintain_order="left"))
    return pl.concat(parts).select(*PRICES)
