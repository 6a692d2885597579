"""CSV tables: their header, and their rows in pieces, read strictly."""

import csv
import gzip
import io
import re
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, cast

import polars as pl

from flag_kedro.data.form import MARKS, TableForm
from flag_kedro.errors import DataError

ROW = "__row__"
BLOCK_BYTES = 1 << 22
"""CSV parsed at a time; no row may be longer."""
BOM = b"\xef\xbb\xbf"
LOOKED_AT = 20
"""First rows from which the form of a file is told when it does not fit."""
NUMBER = re.compile(r"[+-]?[\d.,]*\d[\d.,]*(?:e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Header:
    """The columns of a CSV file, and where its rows begin."""

    columns: tuple[str, ...]
    num_rows: int
    """Rows that it takes, blank ones before it among them."""
    symbol: str | None = None
    """The one symbol that all rows are about, where the header says so."""


@dataclass(frozen=True)
class Ragged:
    """A row with another number of fields than the header."""

    row: int
    """As `ROW` counts."""
    text: str
    rule: str


def read_header(path: Path, form: TableForm) -> Header:
    """The header, once every quotation mark of the file is closed, at the end of a field.

    Raises:
        DataError: when the file is not written as `form` says, with the parameter that would say so.
    """
    _check_quotes(path, form)
    with _wide_fields(), _open_text(path, form) as text:
        rows = list(islice(csv.reader(text, delimiter=MARKS[form.separator]), LOOKED_AT))
    num_blank = next((number for number, row in enumerate(rows) if row), len(rows))
    first, *others = [[name.strip() for name in row] for row in rows if row] or [[]]
    _refuse_other_separator(path, first, form)
    if not form.header:
        return Header(tuple(f"column_{number}" for number in range(1, len(first) + 1)), 0)
    if len(others) >= 2 and (yfinance := _yfinance_header(path, first, *others[:2])):
        return Header(yfinance.columns, num_blank + yfinance.num_rows, yfinance.symbol)
    _refuse_remarks(path, rows, form)
    _refuse_no_header(path, first, others, form)
    names = tuple(name or f"column_{number}" for number, name in enumerate(first, start=1))
    return Header(names, num_blank + 1)


def _yfinance_header(path: Path, first: list[str], second: list[str], third: list[str]) -> Header | None:
    """The header of three lines that yfinance.download(...).to_csv writes: fields, tickers, and the index's name."""
    by_level = {first[0]: first[1:], second[0]: second[1:]}
    if set(by_level) != {"Price", "Ticker"} or not third[0] or any(third[1:]):
        return None
    tickers = list(dict.fromkeys(by_level["Ticker"]))
    if len(tickers) != 1:
        raise DataError(
            f"{path} holds {len(tickers)} tickers side by side ({', '.join(tickers[:5])}); write one below the other: "
            "yfinance.download(...).stack(level='Ticker', future_stack=True).to_csv(FILE), and files.columns.symbol="
            "Ticker"
        )
    return Header((third[0], *by_level["Price"]), 3, tickers[0])


def _refuse_other_separator(path: Path, header: list[str], form: TableForm) -> None:
    others = [name for name in ("semicolon", "tab", "pipe", "comma") if name != form.separator]
    if len(header) == 1 and (found := next((name for name in others if MARKS[name] in header[0]), None)):  # type: ignore[index]
        raise DataError(
            f"{path} does not separate its columns by a {form.separator} ({header[0][:80]!r}); say by what: "
            f"{form.KEY}.separator={found}"
        )


def _refuse_remarks(path: Path, rows: Sequence[Sequence[str]], form: TableForm) -> None:
    """Refuse lines before the header: too short, or blank at their end where a line below has a name in each field."""
    filled = [(number, row) for number, row in enumerate(rows) if any(row)]
    if not filled:
        return
    width = Counter(len(row) for _, row in filled).most_common(1)[0][0]
    (begin, first), *_ = filled
    named = next((number for number, row in filled if len(row) == width and all(map(_is_name, row))), begin)
    if named == begin and len(first) == 1 < width:
        named = next(number for number, row in filled if len(row) == width)
    if named > begin and (len(first) < width or not first[-1].strip()):
        raise DataError(
            f"{path} begins with {first[0].strip()[:60]!r}, which has fewer fields than the rows below it ({width}); "
            f"leave the lines before its header out: {form.KEY}.skip_rows={form.skip_rows + named}"
        )


def _is_name(text: str) -> bool:
    """Whether a field of the first lines can be the name of a column: it begins with no digit, sign or currency."""
    return re.match(r"\s*[^\W\d]|\s*<", text) is not None


def _refuse_no_header(path: Path, header: list[str], others: list[list[str]], form: TableForm) -> None:
    """Refuse a first row that cannot be the header, because it is too short or already a row."""
    widths = [len(row) for row in others]
    if len(others) >= 2 and len(header) < widths[0] and widths[0] == widths[1]:
        raise DataError(
            f"{path} names {len(header)} column(s) ({', '.join(header)[:80]}), but its rows have {widths[0]} fields "
            f"({MARKS[form.separator].join(others[0])[:80]}). If commas stand in numbers, write these in quotation "
            "marks, or the file with semicolons; else name every column, also one that is always empty"
        )
    numbers = [name for name in header if NUMBER.fullmatch(name)]
    if len(numbers) > len(header) / 2:
        raise DataError(
            f"{path} has no header, for its first row holds values ({', '.join(header[:4])}, ...); set "
            f"{form.KEY}.header=false; its columns are then called column_1 to column_{len(header)}"
        )


def csv_pieces(
    path: Path, header: Header, names: Sequence[str], form: TableForm, ragged: list[Ragged] | None
) -> Iterator[pl.DataFrame]:
    """Read with pyarrow: unlike polars it refuses rows that are too short.

    Args:
        path: the file.
        header: its columns.
        names: columns to read.
        form: how it is written.
        ragged: where rows with another number of fields are put; None refuses them.

    Raises:
        DataError: when a row has another number of fields than the header, with `ragged` None.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    skipped: list[Ragged] = []

    def on_ragged(invalid: arrow_csv.InvalidRow) -> str:
        row = invalid.number + form.skip_rows
        rule = f"has {invalid.actual_columns} field(s) instead of {invalid.expected_columns}"
        skipped.append(Ragged(row, invalid.text, rule))
        return "skip"

    with _open_bytes(path, form) as file:
        reader = arrow_csv.open_csv(
            file,
            read_options=arrow_csv.ReadOptions(
                use_threads=False,
                block_size=BLOCK_BYTES,
                column_names=header.columns,
                skip_rows_after_names=header.num_rows,
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=MARKS[form.separator], newlines_in_values=True, invalid_row_handler=on_ragged
            ),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=names,
                column_types={name: pa.string() for name in names},
                strings_can_be_null=True,
                null_values=[""],
            ),
        )
        row = form.skip_rows + header.num_rows
        for batch in reader:
            if skipped and ragged is None:
                raise DataError(_describe(path, skipped[0], form))
            numbers = _row_numbers(row, batch.num_rows, {one.row for one in skipped})
            yield cast("pl.DataFrame", pl.from_arrow(batch)).insert_column(0, numbers)
            row = numbers[-1] if len(numbers) else row
    if skipped and ragged is None:
        raise DataError(_describe(path, skipped[0], form))
    if ragged is not None:
        ragged += skipped


def _row_numbers(last: int, num_rows: int, skipped: set[int]) -> pl.Series:
    """The next `num_rows` row numbers after `last` that were not skipped."""
    candidates = range(last + 1, last + 1 + num_rows + len(skipped))
    numbers = islice((number for number in candidates if number not in skipped), num_rows)
    return pl.Series(ROW, list(numbers) if skipped else candidates, dtype=pl.UInt32)


def _describe(path: Path, one: Ragged, form: TableForm) -> str:
    return (
        f"{path} row {one.row} {one.rule}: {one.text[:80]!r}; correct it. Lines at the end that are no rows are left "
        f"out by {form.KEY}.skip_footer=1, single rows by data.quarantine=true"
    )


def _open_bytes(path: Path, form: TableForm) -> IO[bytes]:
    """The file from its header on, without a byte order mark, and without its footer."""
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    file = cast("IO[bytes]", opened(path, "rb"))
    try:
        for _ in range(form.skip_rows):
            file.readline()
        if not form.skip_rows and file.peek(len(BOM))[: len(BOM)] == BOM:  # type: ignore[attr-defined]
            file.read(len(BOM))
        if not form.skip_footer:
            return file
        body = file.read().rstrip(b"\r\n").rsplit(b"\n", form.skip_footer)[0]
    except BaseException:
        file.close()
        raise
    file.close()
    return io.BytesIO(body + b"\n")


def _open_text(path: Path, form: TableForm) -> io.TextIOWrapper:
    return io.TextIOWrapper(_open_bytes(path, form), encoding="utf-8", newline="")


def _check_quotes(path: Path, form: TableForm) -> None:
    """Refuse marks that are never closed, and text after a closing one, which a reader takes for more of the field."""
    with _open_bytes(path, form) as file:
        quotes = sum(block.count(b'"') for block in iter(lambda: file.read(BLOCK_BYTES), b""))
    if quotes % 2:
        raise DataError(
            f'{path} has an odd number of quotation marks ("), so one text never ends or was cut; '
            "write a mark inside a text twice, and the text in marks"
        )
    if not quotes:
        return
    with _wide_fields(), _open_text(path, form) as text:
        reader = csv.reader(text, strict=True, delimiter=MARKS[form.separator])
        try:
            deque(reader, maxlen=0)
        except csv.Error as error:
            if "expected after" not in str(error):
                raise
            raise DataError(
                f'{path} line {reader.line_num + form.skip_rows}: text after a closing quotation mark ("); a stray '
                "mark swallows the rows up to the next. Write a mark inside a text twice, and the text in marks"
            ) from error


@contextmanager
def _wide_fields() -> Iterator[None]:
    """Let csv read fields as long as a block."""
    limit = csv.field_size_limit(BLOCK_BYTES)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def refuse_swallowed_rows(
    path: Path, header: Header, piece: pl.DataFrame, form: TableForm, breaking: Collection[str]
) -> None:
    """Refuse a text that a stray quotation mark has made of several rows; a line break alone is fine.

    Args:
        path: the file.
        header: its columns.
        piece: some of its rows.
        form: how it is written.
        breaking: columns that may hold line breaks.

    Raises:
        DataError: naming row and column.
    """
    keys = [name for name in piece.columns[1:] if name not in breaking]
    for name in piece.columns[1:]:
        for row in piece.filter(
            pl.col(name).str.contains(r"[\r\n]") if name in keys else _breaks(name, header, form)
        ).iter_rows(named=True):
            lines = [line.split(MARKS[form.separator]) for line in re.split(r"\r\n|\r|\n", row[name])]
            shapes = {header.columns.index(key): _shape(row[key]) for key in keys if row[key]}
            if name in keys or _is_swallowed(lines, header.columns.index(name), len(header.columns), shapes):
                raise DataError(
                    f"{path} row {row[ROW]}: {name} holds a line break, {row[name][:80]!r}, where "
                    + ("no text belongs" if name in keys else "another row begins")
                    + ". A stray quotation mark before it has swallowed rows: remove it, or write it twice"
                )


def _breaks(name: str, header: Header, form: TableForm) -> pl.Expr:
    """Whether a field has line breaks, and as many separators around them as a swallowed row would bring."""
    place, mark = header.columns.index(name), re.escape(MARKS[form.separator])
    fields = rf"(?:[^{mark}\r\n]*{mark})"
    rest = len(header.columns) - 1 - place
    text = pl.col(name)
    around = text.str.contains(rf"^{fields}{{{rest}}}") & text.str.contains(rf"[\r\n]{fields}{{{place}}}[^\r\n]*$")
    return text.str.contains(r"[\r\n]") & around


def _is_swallowed(lines: list[list[str]], place: int, num_columns: int, shapes: Mapping[int, str]) -> bool:
    """Whether the lines of one field are the rest of a row, whole rows, and the beginning of another one.

    Args:
        lines: the field's lines, each divided at the separators.
        place: its column.
        num_columns: of the table.
        shapes: by column, what its values look like, where that is known.
    """
    first, *whole, last = lines
    rest = num_columns - 1 - place
    if len(first) <= rest or len(last) <= place or any(len(line) != num_columns for line in whole):
        return False
    behind = dict(enumerate(first[len(first) - rest :], start=place + 1))
    found = behind | dict(enumerate(last[:place]))
    return all(_shape(found[column]) == shape for column, shape in shapes.items() if "0" in shape)


def _shape(text: str) -> str:
    """The text with every digit as 0 and every word as a."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d", "0", text.strip()))
