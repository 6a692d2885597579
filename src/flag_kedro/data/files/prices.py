"""Prices from a user's own tables: CSV, Parquet or JSON Lines."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from flag_kedro.data.calendar import exchange_sessions
from flag_kedro.data.config import DataConfig
from flag_kedro.data.files.config import FilesConfig
from flag_kedro.data.files.delimited import ROW, Ragged
from flag_kedro.data.files.numbers import number_hint, read_numbers
from flag_kedro.data.files.parsing import our_columns, unread_columns
from flag_kedro.data.files.problems import Problem, broken_values, quarantine_rows, ragged_rows, unreadable_values
from flag_kedro.data.files.repeats import FILE, one_row_a_session
from flag_kedro.data.files.sessions import CalendarOf, read_sessions
from flag_kedro.data.files.symbols import read_symbols
from flag_kedro.data.files.tables import Table, find_tables, gather, open_table, pieces, refuse
from flag_kedro.data.files.times import check_zone
from flag_kedro.data.form import as_param
from flag_kedro.data.schema import NEWS, PRICES, SYMBOL_PATTERN, UTC
from flag_kedro.data.source import Raw
from flag_kedro.data.validation import REJECTED
from flag_kedro.errors import DataError

NUMBERS = ("open", "high", "low", "close", "volume", "adj_close")
OPTIONAL = ("symbol", "open", "high", "low", "volume")
KEY = "files.columns"


@dataclass(frozen=True)
class TablePrices:
    """Prices of one table."""

    rows: pl.DataFrame
    """Of wanted symbols, in the columns of `no_rows` and the file's order."""
    rejected: pl.DataFrame
    """Columns of `validation.REJECTED`."""
    unread: Mapping[str, str]
    """Its columns that are probably ours and are not read, ours to theirs."""


def read_files(data: DataConfig, files: FilesConfig, calendar_of: CalendarOf) -> Raw:
    """Prices of the tables that `data.path` names; they have no articles of their own.

    A session is a date, or a time with zone that opens or closes it (`files.stamps`). `available_at` is the close of
    the session, null where the exchange has none on that day.

    With `data.quarantine` a row of which a value cannot be read is left out and kept in `Raw.rejected`. Equal rows
    count once.

    Raises:
        DataError: listing what cannot be put into our columns, by file, row and column; or a wanted symbol without
            rows.
        ParameterError: when `data.path` names no table, or `files.timezone` no zone.
    """
    check_zone(files.timezone, files.KEY)
    assert data.path is not None  # DataConfig requires it for this source
    paths = find_tables(data.path, "data.path")
    tables = gather(paths, lambda path: read_table(path, data, files, calendar_of))
    rejected = pl.concat(table.rejected for table in tables)
    placed = [table.rows.with_columns(pl.lit(number, pl.UInt32).alias(FILE)) for number, table in enumerate(tables)]
    prices, repeats = one_row_a_session(pl.concat(placed), paths, files.duplicates)
    prices = prices.drop(FILE, ROW)
    if missing := sorted(set(data.symbols or ()) - set(prices["symbol"].unique())):
        available = _symbols_of(paths, files)
        raise DataError(
            f"data.symbols: no prices of {' '.join(missing)} in {data.path}; there are {' '.join(available[:100])}"
            + (f" and {len(available) - 100} more" if len(available) > 100 else "")
            + _lost_zeros(missing, available)
        )
    names = {symbol.upper(): (name,) for symbol, name in files.names.items()}
    counts = {"tables": len(paths), "rows": prices.height, "adjusted": files.adjusted}
    report = {
        "files": counts | repeats,
        "news": {"source": "own", "note": "tables of prices have no articles; news.source says where else to look"},
    }
    return Raw(
        with_closes(prices, calendar_of),
        pl.DataFrame(schema=NEWS),
        names,
        report,
        rejected,
        _warnings(repeats) + _unread(table.unread for table in tables),
    )


def _warnings(repeats: dict[str, int]) -> list[str]:
    said = {
        "equal_rows": "row(s) of prices that equal another one count once",
        "differing_rows": "row(s) of prices are left out for others of their session, as files.duplicates says",
    }
    return [f"{repeats[name]} {what}" for name, what in said.items() if repeats[name]]


def _unread(tables: Iterable[Mapping[str, str]]) -> list[str]:
    """A line on columns that are probably ours and are not read."""
    named = Counter(item for unread in tables for item in unread.items())
    if not named:
        return []
    params = ",".join(as_param(f"{KEY}.{ours}", theirs) for ours, theirs in named)
    return [f"columns of {max(named.values())} table(s) of prices are not read; to have them, set {params}"]


def _lost_zeros(missing: Sequence[str], available: Sequence[str]) -> str:
    """Words on a symbol of digits that came as a number, without its zeros or read as an octal one."""
    for symbol in available:
        if re.fullmatch(r"0\d+", symbol):
            numbers = {str(int(symbol)), *([str(int(symbol, 8))] if re.fullmatch("[0-7]+", symbol) else [])}
            if numbers & set(missing):
                return (
                    f". A number loses its zeros on the command line; in quotes it keeps them: data.symbols='{symbol}'"
                )
    return ""


def symbol_of(table: Table, piece: pl.DataFrame, column: str | None) -> pl.Series:
    """Symbols of the rows, as they are called here; without a symbol column the table has one.

    Raises:
        DataError: when the column's type holds no texts.
    """
    if column is None:
        return pl.repeat(table.symbol, piece.height, dtype=pl.String, eager=True).alias("symbol")
    return read_symbols(piece[column], table.form, str(table.path))


def holds_other_symbol(table: Table, column: str | None, wanted: Sequence[str] | None) -> bool:
    """Whether the table has one symbol, and none of the `wanted`."""
    return column is None and wanted is not None and table.symbol not in wanted


def _columns_of(table: Table, files: FilesConfig) -> dict[str, str]:
    needed = ("session", "close") if files.adjusted else ("session", "close", "adj_close")
    try:
        return our_columns(files.columns, table.columns, needed, OPTIONAL, str(table.path), KEY)
    except DataError as error:
        if files.adjusted or files.columns.get("adj_close", "adj_close") in table.columns:
            raise
        raise DataError(f"{error}; or, if close is adjusted for splits and dividends, files.adjusted=true") from error


def read_table(path: Path, data: DataConfig, files: FilesConfig, calendar_of: CalendarOf) -> TablePrices:
    """The prices of wanted symbols in one file.

    Raises:
        DataError: listing what cannot be put into our columns.
    """
    table = open_table(path, files)
    columns = _columns_of(table, files)
    parts, left_out, problems = [no_rows()], [pl.DataFrame(schema=REJECTED)], []
    ragged: list[Ragged] | None = [] if data.quarantine else None
    if not holds_other_symbol(table, columns.get("symbol"), data.symbols):
        for piece in pieces(table, list(columns.values()), ragged=ragged):
            symbols = symbol_of(table, piece, columns.get("symbol"))
            if data.symbols is not None:
                is_wanted = symbols.is_in(data.symbols).fill_null(False)
                piece, symbols = piece.filter(is_wanted), symbols.filter(is_wanted)
            part, piece_problems = _parse_piece(table, piece, symbols, columns, files, calendar_of)
            part, rejected, remaining = quarantine_rows(
                "prices", part, piece, columns["session"], piece_problems, quarantine=data.quarantine
            )
            parts.append(part)
            left_out.append(rejected)
            problems += remaining
    refuse(problems)
    prices = pl.concat(parts)
    if "symbol" not in columns and files.duplicates == "refuse":
        refuse(_several_symbols(table, columns, prices))
    refuse(_mangled_order(table, prices))
    if files.adjusted:
        prices = prices.with_columns(adj_close="close")
    rejected = pl.concat([*left_out, ragged_rows("prices", path, ragged or [])])
    return TablePrices(prices, rejected, unread_columns(files.columns, table.columns, OPTIONAL))


def no_rows() -> pl.DataFrame:
    """An empty table of prices as they are read: `ROW`, and columns of `PRICES` but `available_at`."""
    columns = {name: kind for name, kind in PRICES.items() if name != "available_at"}
    return pl.DataFrame(schema={ROW: pl.UInt32, **columns})


def _parse_piece(
    table: Table,
    piece: pl.DataFrame,
    symbols: pl.Series,
    columns: dict[str, str],
    files: FilesConfig,
    calendar_of: CalendarOf,
) -> tuple[pl.DataFrame, list[Problem]]:
    table_name = str(table.path)
    rows = piece[ROW].cast(pl.UInt32)
    problems = broken_values(table_name, symbols, rows, symbols.is_null(), "has no symbol")
    problems += _wild_symbols(table_name, symbols, rows)
    sessions, session_problems = read_sessions(piece[columns["session"]], rows, symbols, files, calendar_of, table_name)
    problems += session_problems
    parsed = {ROW: rows, "symbol": symbols, "session": sessions}
    for name in NUMBERS:
        if name in columns:
            raw = piece[columns[name]]
            parsed[name] = read_numbers(raw, table_name, files.decimal, files.thousands).alias(name)
            problems += unreadable_values(
                table_name,
                raw,
                rows,
                parsed[name],
                lambda values: f"where a number belongs; {number_hint(values, files)}",
            )
    filled = pl.DataFrame(parsed)
    absent = [pl.lit(None, dtype=pl.Float64).alias(name) for name in NUMBERS if name not in columns]
    return filled.with_columns(absent).select(no_rows().columns), problems


def _wild_symbols(table_name: str, symbols: pl.Series, rows: pl.Series) -> list[Problem]:
    """One problem for each symbol that is not made of what symbols are made of."""
    wild = symbols.filter(~symbols.str.contains(SYMBOL_PATTERN)).unique(maintain_order=True)
    problems = []
    for symbol in wild:
        ours = re.sub(r"[^A-Z0-9.^=&_]+", "-", symbol).strip("-") or "NAME"
        param = as_param(f"files.symbols.{ours}", symbol)
        rule = f"where capitals, digits and .^=&_- make a symbol; say what to call it: {param}"
        problems += broken_values(table_name, symbols, rows, symbols == symbol, rule)
    return problems


def _several_symbols(table: Table, columns: Mapping[str, str], prices: pl.DataFrame) -> list[str]:
    """One line where sessions come again and a column, which nobody named as the symbol, tells of whom."""
    distinct = prices.unique(pl.exclude(ROW), keep="first", maintain_order=True)
    again = distinct.filter(~pl.col("session").is_first_distinct())
    if again.is_empty():
        return []
    others = [name for name in table.columns if name and name not in columns.values() and name not in table.nested]
    session = columns["session"]
    piece = next(pieces(table, [session, *others], ragged=[]))
    likely = [name for name in others if _tells_symbols(piece, name, session)]
    if not likely:
        return []
    params = " or ".join(as_param(f"{KEY}.symbol", name) for name in likely)
    row, day = again.select(ROW, "session").row(0)
    return [
        f"{table.path} row {row}: {day} comes again with other values, and without a column of symbols all rows are "
        f"about {table.symbol}; if a column says which symbol a row is about, name it: {params}"
    ]


def _tells_symbols(piece: pl.DataFrame, name: str, session: str) -> bool:
    """Whether a column holds few words, and each of them once a session."""
    words = piece[name]
    return (
        (words.dtype == pl.String or isinstance(words.dtype, pl.Categorical | pl.Enum))
        and bool(words.cast(pl.String).str.contains(r"^\s*[A-Za-z]").fill_null(False).all())
        and 1 < words.n_unique() <= max(2, piece.height // 2)
        and bool(pl.struct(piece[session], words, eager=True).is_unique().all())
    )


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
        table = open_table(path, files)
        column = _columns_of(table, files).get("symbol")
        if column is None:
            symbols.add(table.symbol)
        else:
            for piece in pieces(table, [column]):
                symbols |= set(symbol_of(table, piece, column).drop_nulls().unique())
    return sorted(symbols)


def with_closes(prices: pl.DataFrame, calendar_of: CalendarOf) -> pl.DataFrame:
    """Rows of `prices` with `available_at`; one calendar serves all symbols that trade on it."""
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
