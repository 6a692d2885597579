"""JSON: keys of all rows, and their values as texts. A row is a line of JSON Lines, or an object of the one array."""

import io
import json
import math
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import polars as pl

from flag_kedro.data.files.delimited import ROW
from flag_kedro.errors import DataError

PIECE_ROWS = 100_000


def json_columns(path: Path) -> tuple[tuple[str, ...], dict[str, int]]:
    """Keys of all rows, and those that hold a list or an object with the first such row.

    Raises:
        DataError: naming the row that is no JSON object, or how to write the rows of a file that is one object.
    """
    columns: dict[str, None] = {}
    nested: dict[str, int] = {}
    for number, row in _rows(path):
        for name, value in row.items():
            columns[name] = None
            if isinstance(value, list | dict):
                nested.setdefault(name, number)
    return tuple(columns), nested


def json_pieces(path: Path, names: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Values as texts, lists as JSON.

    Raises:
        DataError: as `json_columns`.
    """
    lines = path if _is_lines(path) else io.BytesIO("\n".join(json.dumps(row) for _, row in _rows(path)).encode())
    frame = pl.scan_ndjson(lines, schema=dict.fromkeys(names, pl.String)).with_row_index(ROW, 1)
    try:
        yield from frame.collect_batches(chunk_size=PIECE_ROWS, maintain_order=True)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        for _ in _rows(path):  # names the line
            pass
        raise


def _is_lines(path: Path) -> bool:
    """Whether each line is a row; a .json may also be one array, or one object over several lines."""
    if path.suffix.lower() != ".json":
        return True
    with path.open(encoding="utf-8-sig") as file:
        first = next((line.strip() for line in file if line.strip()), "")
        more = any(line.strip() for line in file)
    try:
        return first.startswith("{") and more and isinstance(json.loads(first), dict)
    except ValueError:
        return False


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if _is_lines(path):
        with path.open(encoding="utf-8") as file:
            yield from ((number, _json_object(path, number, line)) for number, line in enumerate(file, start=1))
        return
    text = path.read_text(encoding="utf-8-sig")
    if not text.strip():
        return
    try:
        value = _parse(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if isinstance(value, dict):
        if any(isinstance(inner, list | dict) for inner in value.values()):
            raise DataError(f"{path} is one JSON object, where rows belong; {_way_out(path, value)}")
        value = [value]
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise DataError(f"{path} is no array of JSON objects: {text.strip()[:80]!r}; write one object a row")
    yield from enumerate(value, start=1)


def _way_out(path: Path, whole: dict[str, Any]) -> str:
    """The command that writes the rows of an object one a line."""
    if rows := _rows_within(whole):
        code = f'import json, sys; whole = json.load(sys.stdin); print(*map(json.dumps, {rows}), sep="\\n")'
        lines = path.with_suffix(".jsonl")
        paths = f"< {shlex.quote(str(path))} > {shlex.quote(str(lines))}"
        return f"write these one a line and read {lines.name}: python -c {shlex.quote(code)} {paths}"
    return (
        "write an array of objects, one a row (of pandas: to_json(FILE, orient='records')); if it is no table, name "
        f"the others by a pattern, such as {path.parent}/*.csv"
    )


def _rows_within(whole: dict[str, Any]) -> str | None:
    """The rows of an object as code: its list of objects, its objects by session, or its lists by column."""
    for key, inner in whole.items():
        rows = inner if isinstance(inner, list) else list(inner.values()) if isinstance(inner, dict) else []
        if rows and all(isinstance(row, dict) for row in rows):
            found = f"whole[{json.dumps(key)}]"
            return found if isinstance(inner, list) else f'({{"session": day}} | row for day, row in {found}.items())'
    columns = {key: len(inner) for key, inner in whole.items() if isinstance(inner, list)}
    if len(columns) > 1 and len(set(columns.values())) == 1:
        names = json.dumps(list(columns))
        return f"(dict(zip({names}, row)) for row in zip(*map(whole.get, {names})))"
    return None


def _parse(text: str) -> object:
    return json.loads(text, parse_constant=_no_number, parse_float=_finite)


def _json_object(path: Path, number: int, line: str) -> dict[str, Any]:
    if not line.strip():
        return {}
    try:
        value = _parse(line)
    except (ValueError, RecursionError) as error:
        way_out = "; a file that is one array or object must end in .json" if line.strip() in ("[", "{") else ""
        raise DataError(f"{path} line {number} is not JSON: {error}; found {line.strip()[:80]!r}{way_out}") from error
    if not isinstance(value, dict):
        raise DataError(
            f"{path} line {number} is no JSON object: {line.strip()[:80]!r}; write one object a line, or let the name "
            "of a file that is one array end in .json"
        )
    return cast("dict[str, Any]", value)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _no_number(text: str) -> float:
    raise ValueError(f"{text[:20]} is no number of JSON")
