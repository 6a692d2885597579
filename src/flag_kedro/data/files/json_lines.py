"""JSON Lines: keys of all lines, and their values as texts."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from flag_kedro.data.files.delimited import ROW
from flag_kedro.errors import DataError

PIECE_ROWS = 100_000


def json_columns(path: Path) -> tuple[tuple[str, ...], dict[str, int]]:
    """Keys of all lines, and those that hold a list or an object with the first such line.

    Raises:
        DataError: naming the line that is no JSON object.
    """
    columns: dict[str, None] = {}
    nested: dict[str, int] = {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            for name, value in _json_object(path, number, line).items():
                columns[name] = None
                if isinstance(value, list | dict):
                    nested.setdefault(name, number)
    return tuple(columns), nested


def json_pieces(path: Path, names: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Values as texts, lists as JSON.

    Raises:
        DataError: naming the line that is no JSON object.
    """
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
