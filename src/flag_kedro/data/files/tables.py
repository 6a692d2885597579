"""Tables of a user, in pieces of raw columns: CSV, Parquet and JSON Lines, each read strictly."""

import csv
import glob
import gzip
import io
import json
import math
import os
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import IO, TypeVar, cast

import polars as pl

from flag_kedro.data.schema import SHOWN
from flag_kedro.errors import DataError, ParameterError

KINDS = (".csv", ".csv.gz", ".parquet", ".jsonl", ".ndjson")
BLOCK_BYTES = 1 << 22
"""CSV parsed at a time; no row may be longer."""
PIECE_ROWS = 100_000
ROW = "__row__"
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
    nested: Mapping[str, int] = field(default_factory=dict)
    """Columns of JSON Lines that hold a list or an object somewhere, and the first such line."""

    @property
    def stem(self) -> str:
        """The file's name without its kind."""
        return self.path.name[: -len(_kind(self.path) or "")]


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
            raise ParameterError(f"{key}: the folder {location.absolute()} holds no table ({', '.join(KINDS)})")
    else:
        files = [file for file in map(Path, glob.glob(str(location), recursive=True)) if file.is_file()]
        files = files or ([location] if location.is_file() else [])
        if not files:
            raise ParameterError(
                f"{key}: {location.absolute()} is neither a file nor a folder, and no file fits it as a pattern"
            )
        if not_tables := [str(file) for file in files if not _kind(file)]:
            raise ParameterError(
                f"{key}: {', '.join(not_tables[:SHOWN])} is no table; the name must end in {', '.join(KINDS)}"
            )
    return tuple(sorted(files))


def open_table(path: Path) -> Table:
    """The file's columns.

    Raises:
        DataError: when the file cannot be read, is empty, or has a column twice.
    """
    nested: dict[str, int] = {}
    with _named_errors(path):
        match _kind(path):
            case ".parquet":
                columns = _parquet_columns(path)
            case ".jsonl" | ".ndjson":
                columns, nested = _json_columns(path)
            case _:
                columns = _csv_columns(path)
    if not columns:
        raise DataError(f"{path} is empty")
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise DataError(f"{path} has the column {twice[0]!r} twice; rename one of them")
    return Table(path, columns, nested)


def pieces(table: Table, names: Sequence[str], breaking: Collection[str] = ()) -> Iterator[pl.DataFrame]:
    """The file's rows in order, with `ROW` and the columns `names`.

    In CSV only the columns `breaking` may hold line breaks: elsewhere one means that a stray quotation mark has
    swallowed rows.

    Columns of CSV and JSON Lines are text, an empty field is null; those of Parquet have their own types. `ROW` counts
    from 1; in CSV the header is row 1, as spreadsheets count.

    Args:
        table: the file.
        names: columns to read.
        breaking: those that may hold line breaks.

    Raises:
        DataError: when the file breaks its own format, has nested values or stray line breaks, or has no row.
    """
    wanted = list(dict.fromkeys(names))
    if lines := {name: table.nested[name] for name in wanted if name in table.nested}:
        name, line = next(iter(lines.items()))
        raise DataError(f"{table.path} line {line}: {name} is a list or an object, where one value belongs")
    readers: dict[str, Callable[[Path, list[str]], Iterator[pl.DataFrame]]] = {
        ".parquet": _parquet_pieces,
        ".jsonl": _json_pieces,
        ".ndjson": _json_pieces,
    }
    num_rows = 0
    with _named_errors(table.path):
        for piece in readers.get(_kind(table.path) or "", _csv_pieces)(table.path, wanted):
            num_rows += piece.height
            if _kind(table.path) in (".csv", ".csv.gz"):
                _refuse_breaks(table.path, piece, [name for name in wanted if name not in breaking])
            yield piece
    if not num_rows:
        raise DataError(f"{table.path} has columns but no row")


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


def _open_bytes(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if path.name.lower().endswith(".gz") else path.open("rb")


def _csv_columns(path: Path) -> tuple[str, ...]:
    """The header, once every quotation mark of the file is closed, at the end of a field."""
    with _open_bytes(path) as file:
        quotes = sum(block.count(b'"') for block in iter(lambda: file.read(BLOCK_BYTES), b""))
    if quotes % 2:
        raise DataError(
            f'{path} has an odd number of quotation marks ("), so one text never ends or was cut; '
            "write a mark inside a text twice, and the text in marks"
        )
    if quotes:
        _check_quotes(path)
    with _open_bytes(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        header = next((row for row in csv.reader(text) if row), [])
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise DataError(f"{path} separates its columns by something else than commas ({header[0][:80]!r}); use commas")
    return tuple(header)


def _check_quotes(path: Path) -> None:
    """Refuse text after a closing quotation mark, which the reader below would take for more of the field."""
    limit = csv.field_size_limit(BLOCK_BYTES)
    try:
        with _open_bytes(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, strict=True)
            deque(reader, maxlen=0)
    except csv.Error as error:
        if "expected after" not in str(error):
            raise
        raise DataError(
            f'{path} line {reader.line_num}: text after a closing quotation mark ("); a stray mark swallows the rows '
            "up to the next. Write a mark inside a text twice, and the text in marks"
        ) from error
    finally:
        csv.field_size_limit(limit)


def _refuse_breaks(path: Path, piece: pl.DataFrame, names: Sequence[str]) -> None:
    for name in names:
        broken = piece.filter(pl.col(name).str.contains(r"[\r\n]"))
        if broken.height:
            raise DataError(
                f"{path} row {broken[ROW][0]}: {name} holds a line break, {broken[name][0][:80]!r}; only an "
                "article's body may. A stray quotation mark before it has swallowed rows: remove it, or write it twice"
            )


def _csv_pieces(path: Path, names: list[str]) -> Iterator[pl.DataFrame]:
    """Read with pyarrow: unlike polars it refuses rows that are too short."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    with _open_bytes(path) as file:
        reader = arrow_csv.open_csv(
            file,
            read_options=arrow_csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=names,
                column_types={name: pa.string() for name in names},
                strings_can_be_null=True,
                null_values=[""],
            ),
        )
        num_rows = 1
        for batch in reader:
            yield cast("pl.DataFrame", pl.from_arrow(batch)).with_row_index(ROW, num_rows + 1)
            num_rows += batch.num_rows


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


def _json_columns(path: Path) -> tuple[tuple[str, ...], dict[str, int]]:
    """Keys of all lines, and those that hold a list or an object with the first such line."""
    columns: dict[str, None] = {}
    nested: dict[str, int] = {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            for name, value in _json_object(path, number, line).items():
                columns[name] = None
                if isinstance(value, list | dict):
                    nested.setdefault(name, number)
    return tuple(columns), nested


def _json_pieces(path: Path, names: list[str]) -> Iterator[pl.DataFrame]:
    frame = pl.scan_ndjson(path, schema=dict.fromkeys(names, pl.String)).with_row_index(ROW, 1)
    try:
        yield from frame.collect_batches(chunk_size=PIECE_ROWS, maintain_order=True)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                _json_object(path, number, line)
        raise


def _json_object(path: Path, number: int, line: str) -> dict[str, object]:
    if not line.strip():
        return {}
    try:
        value = json.loads(line, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} line {number} is not JSON: {error}; found {line.strip()[:80]!r}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} line {number} is no JSON object: {line.strip()[:80]!r}; write one object a line")
    return value


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _no_number(text: str) -> float:
    raise ValueError(f"{text[:20]} is no number of JSON")
