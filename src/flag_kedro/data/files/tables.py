"""Tables of a user, in pieces of raw columns: CSV, Parquet and JSON, each read strictly."""

import csv
import glob
import os
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TypeVar, cast
from urllib.parse import unquote

import polars as pl

from flag_kedro.data.files.delimited import (
    BLOCK_BYTES,
    ROW,
    Header,
    Ragged,
    csv_pieces,
    read_header,
    refuse_swallowed_rows,
)
from flag_kedro.data.files.json_rows import PIECE_ROWS, json_columns, json_pieces
from flag_kedro.data.form import TableForm
from flag_kedro.data.schema import SHOWN
from flag_kedro.errors import DataError, ParameterError

CSV_KINDS = (".csv", ".csv.gz")
KINDS = (*CSV_KINDS, ".parquet", ".jsonl", ".ndjson", ".json")
Read = TypeVar("Read")
WAYS_OUT = {
    "UTF8": "; save it as UTF-8",
    "field larger": f"; a row is longer than {BLOCK_BYTES >> 20} MiB, likely for a quotation mark that is never closed",
}
"""By a word of the reading library's message."""


@dataclass(frozen=True)
class Table:
    """A file whose columns are known and whose rows are not read yet."""

    path: Path
    columns: tuple[str, ...]
    form: TableForm
    nested: Mapping[str, int] = field(default_factory=dict)
    """Columns of JSON that hold a list or an object somewhere, and the first such line, or object of an array."""
    header: Header | None = None
    """Of CSV."""

    @property
    def symbol(self) -> str:
        """The symbol of all rows where no column says it, in capitals: of header, folder (symbol=ACME) or file."""
        named = self.header.symbol if self.header else None
        named = named or _symbol_of_folder(self.path)
        theirs = (named or self.path.name[: -len(_kind(self.path) or "")]).strip().upper()
        return self.form.our_symbols.get(theirs, theirs)


def find_tables(path: str, key: str) -> tuple[Path, ...]:
    """Files that `path` names, in order: a file, all tables in a folder, or a pattern.

    Args:
        path: as the user wrote it.
        key: the parameter it comes from, for messages.

    Raises:
        ParameterError: when there is none, one that is no table, or a folder that may not be read.
    """
    location = Path(path).expanduser()
    if location.is_dir():
        if not os.access(location, os.R_OK | os.X_OK):
            raise ParameterError(f"{key}: the folder {location.absolute()} may not be read; change its permissions")
        files = [
            file for file in location.iterdir() if _kind(file) and file.is_file() and not file.name.startswith(".")
        ]
        if not files:
            below = next((file for file in location.glob("*/*") if _kind(file)), None)
            if below is not None:
                pattern = location.absolute() / "*" / f"*{_kind(below)}"
                raise ParameterError(
                    f"{key}: {location.absolute()} holds tables in folders; say which: {key}={pattern}"
                )
            names = sorted(file.name for file in location.iterdir() if file.is_file())[:3]
            raise ParameterError(
                f"{key}: the folder {location.absolute()} holds no table, whose name ends in {', '.join(KINDS)}"
                + (f"; it holds {', '.join(names)}" if names else "")
                + "; unpack archives, rename text (.txt to .csv), save spreadsheets as CSV" * bool(names)
            )
    else:
        files = [file for file in map(Path, glob.glob(str(location), recursive=True)) if file.is_file()]
        files = files or ([location] if location.is_file() else [])
        if not files:
            raise ParameterError(
                f"{key}: {location.absolute()} is neither a file nor a folder, and no file fits it as a pattern"
            )
        if not_tables := [str(file) for file in files if not _kind(file)]:
            raise ParameterError(
                f"{key}: {', '.join(not_tables[:SHOWN])} is no table; the name must end in {', '.join(KINDS)}; "
                "unpack archives, rename text (.txt to .csv), save spreadsheets as CSV"
            )
    return tuple(sorted(files))


def open_table(path: Path, form: TableForm) -> Table:
    """The file's columns.

    Args:
        path: the file.
        form: how it is written.

    Raises:
        DataError: when the file cannot be read, is empty, has a column twice, or is no CSV though `form` says so.
    """
    nested: dict[str, int] = {}
    header = None
    kind = _kind(path)
    if form.csv_only and kind not in CSV_KINDS:
        raise DataError(f"{path} is no CSV, which {', '.join(form.csv_only)} would be for; leave that out")
    with _named_errors(path):
        match kind:
            case ".parquet":
                columns = _parquet_columns(path)
            case ".jsonl" | ".ndjson" | ".json":
                columns, nested = json_columns(path)
            case _:
                header = read_header(path, form)
                columns = header.columns
    if not columns:
        raise DataError(f"{path} is empty")
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise DataError(f"{path} has the column {twice[0]!r} twice; rename one of them")
    return Table(path, columns, form, nested, header)


def pieces(
    table: Table,
    names: Sequence[str],
    *,
    breaking: Collection[str] = (),
    lists: Collection[str] = (),
    ragged: list[Ragged] | None = None,
) -> Iterator[pl.DataFrame]:
    """The file's rows in order, with `ROW` and the columns `names`.

    Columns of CSV and JSON Lines are text, an empty field is null; those of Parquet have their own types. `ROW` counts
    from 1; in CSV the file's first line is row 1, as spreadsheets count.

    Args:
        table: the file.
        names: columns to read.
        breaking: those that may hold line breaks in CSV: elsewhere one means that a stray mark has swallowed rows.
        lists: those that may hold lists in JSON Lines.
        ragged: where rows of CSV with too few or too many fields are put; None refuses them.

    Raises:
        DataError: when the file breaks its own format, has nested values or stray line breaks, or has no row.
    """
    wanted = list(dict.fromkeys(names))
    if lines := {name: table.nested[name] for name in wanted if name in table.nested and name not in lists}:
        name, line = next(iter(lines.items()))
        word = "row" if _kind(table.path) == ".json" else "line"
        raise DataError(f"{table.path} {word} {line}: {name} is a list or an object, where one value belongs")
    num_rows = 0
    with _named_errors(table.path):
        for piece in _raw_pieces(table, wanted, ragged):
            num_rows += piece.height
            if table.header:
                refuse_swallowed_rows(table.path, table.header, piece, table.form, breaking)
            yield piece
    if not num_rows:
        raise DataError(f"{table.path} has columns but no row")


def _raw_pieces(table: Table, names: list[str], ragged: list[Ragged] | None) -> Iterator[pl.DataFrame]:
    if table.header:
        return csv_pieces(table.path, table.header, names, table.form, ragged)
    return (_parquet_pieces if _kind(table.path) == ".parquet" else json_pieces)(table.path, names)


def gather(paths: Sequence[Path], read: Callable[[Path], Read]) -> list[Read]:
    """What `read` makes of every file.

    Raises:
        DataError: the problems of all files in one list.
    """
    tables, problems = [], []
    for path in paths:
        try:
            tables.append(read(path))
        except (DataError, ParameterError) as error:
            problems += str(error).split("\n")
    refuse(problems)
    return tables


def compact(rows: pl.DataFrame) -> pl.DataFrame:
    """The same rows in memory of their own, free of the texts of the rows that they were chosen from."""
    return cast("pl.DataFrame", pl.from_arrow(rows.to_arrow(compat_level=pl.CompatLevel.oldest())))


def refuse(problems: Sequence[str]) -> None:
    """Raise if there are any `problems`.

    Raises:
        DataError: listing the first `SHOWN` and counting the rest.
    """
    if problems:
        more = [f"... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise DataError("\n".join([*problems[:SHOWN], *more]))


def _symbol_of_folder(path: Path) -> str | None:
    """The symbol that a folder is for, as tables divided by a column have it: symbol=ACME/part-0.parquet."""
    divided = (folder.partition("=") for folder in reversed(path.parent.parts))
    return next((unquote(value) for name, _, value in divided if value and name.lower() in ("symbol", "ticker")), None)


def _kind(path: Path) -> str | None:
    name = path.name.lower()
    return max((kind for kind in KINDS if name.endswith(kind) and len(name) > len(kind)), key=len, default=None)


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Name the file in whatever its reading library says, and how it may be mended."""
    import pyarrow as pa

    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except (OSError, EOFError, zlib.error, csv.Error, pa.ArrowException, pl.exceptions.PolarsError) as error:
        message = " ".join(str(error).split())[:300]
        hint = next((way_out for sign, way_out in WAYS_OUT.items() if sign in message), "")
        raise DataError(f"{path} cannot be read as {_kind(path)}: {message}{hint}") from error
    except pl.exceptions.PanicException as error:
        raise DataError(f"{path} cannot be read as {_kind(path)}: it is damaged ({str(error)[:200]})") from error


def _parquet_pieces(path: Path, names: list[str]) -> Iterator[pl.DataFrame]:
    """By pyarrow: polars ends the whole process on some damaged files."""
    import pyarrow.parquet

    num_rows = 0
    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=PIECE_ROWS, columns=names):
            batch.validate(full=True)  # polars trusts texts to be UTF-8
            piece = cast("pl.DataFrame", pl.from_arrow(batch)).with_row_index(ROW, 1 + num_rows)
            _refuse_wild_times(path, piece)
            yield piece
            num_rows += batch.num_rows


def _refuse_wild_times(path: Path, piece: pl.DataFrame) -> None:
    """Refuse dates beyond the years 1 to 9999, which neither polars nor Python can so much as print."""
    for column in piece:
        reach = pl.Series([date.min, date.max])
        if isinstance(column.dtype, pl.Datetime) and column.dtype.time_unit != "ns":  # all that fits into ns is tame
            reach = reach.cast(pl.Datetime(column.dtype.time_unit))
        elif column.dtype != pl.Date:
            continue
        rows = piece[ROW].filter(~column.to_physical().is_between(*reach.to_physical()))
        if len(rows):
            raise DataError(f"{path} row {rows[0]}: {column.name} is a time that no calendar has; the file is damaged")


def _parquet_columns(path: Path) -> tuple[str, ...]:
    import pyarrow.parquet

    return tuple(pyarrow.parquet.read_schema(path).names)
