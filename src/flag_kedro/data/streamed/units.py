"""Units: rows of one source, read once, divided by bucket and year, and committed as a folder.

A folder appears whole or not at all, with its manifest inside. So a run that is killed goes on behind the last unit
that it committed, and no row is counted twice.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.data.atomic import atomic_folder
from flag_kedro.data.streamed.store import read_json, remove_folder
from flag_kedro.data.validation import REJECTED

UNIT_ROWS = 250_000
"""Rows of the source in one unit, as soon as a piece of it ends."""
UNIT_BYTES = 256 << 20
"""In memory; a unit also ends with the piece that reaches it."""
UNIT, LEFT_OUT = "unit.json", "rejected.parquet"


@dataclass(frozen=True)
class Source:
    """A file, or a dataset, that units are read from."""

    name: str
    state: str
    """Another one when the content is another: size and time of change of a file, commit of a dataset."""
    settings: str
    """Hash of the parameters, and of the code, that shape what is read."""

    @classmethod
    def of_file(cls, path: Path, settings: str) -> "Source":
        """A file of rows."""
        stat = path.stat()
        return cls(str(path), f"{stat.st_size}-{stat.st_mtime_ns}", settings)


@dataclass(frozen=True)
class Unit:
    """The manifest of a unit."""

    source: str
    state: str
    settings: str
    index: int
    """Its place within the source, from 0."""
    rows: int
    """Of the source, kept or not."""
    kept: int
    rejected: int
    """Rows that were left out, each counted once."""
    last: bool
    """Whether the source ends with it."""
    future: str | None
    """The earliest time of rows that were left out because they lay in the future: from then on they may be let in."""
    rules: dict[str, int] = field(default_factory=dict)
    """How often each rule was broken by rows that were left out."""
    parts: dict[str, int] = field(default_factory=dict)
    """Rows of each file by its name: BUCKET or BUCKET-YEAR."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What else the reader counted."""

    @property
    def name(self) -> str:
        """Of its folder."""
        return unit_name(self.source, self.index)

    @property
    def made_of(self) -> list[Any]:
        """What determines its rows; which of them lay in the future when they were read shows in the counts."""
        read = [self.source, self.state, self.settings, self.index, self.kept, self.rejected, self.future]
        return [*read, self.facts.get("wanted")]


@dataclass(frozen=True)
class Piece:
    """Some rows of a source."""

    rows: int
    """Of the source."""
    table: pl.DataFrame
    """Rows that stay, with `part`, the name of the file that each belongs to."""
    rejected: pl.DataFrame
    """Columns of `validation.REJECTED`."""


def unit_name(source: str, index: int) -> str:
    """Of a unit's folder."""
    return f"{sha256(source.encode()).hexdigest()[:16]}-{index:05d}"


def committed(folder: Path) -> list[Unit]:
    """All units in a folder, in the order of their sources' names and rows."""
    manifests = (read_json(unit / UNIT) for unit in sorted(folder.glob("[0-9a-f]*-[0-9]*")))
    units = [Unit(**manifest) for manifest in manifests if manifest]
    return sorted(units, key=lambda unit: (unit.source, unit.index))


def sweep(
    folder: Path, sources: Iterable[Source], now: datetime, fits: Callable[[Unit], bool] = lambda _: True
) -> dict[str, list[Unit]]:
    """Remove units that do not fit, or are not of these sources as they are now; return the others by source.

    The units of a source are whole from its first row on; one with rows that lay in the future, and no longer do, is
    read again.
    """
    current = {source.name: source for source in sources}
    found: dict[str, list[Unit]] = {name: [] for name in current}
    for unit in committed(folder):
        source = current.get(unit.source)
        same = source is not None and (source.state, source.settings) == (unit.state, unit.settings)
        if not same or not fits(unit) or is_past(unit.future, now) or unit.index != len(found[unit.source]):
            remove_folder(folder / unit.name, UNIT)
        else:
            found[unit.source].append(unit)
    return found


def stage(
    folder: Path,
    source: Source,
    done: list[Unit],
    read: Callable[[int], Iterator[Piece]],
    take_facts: Callable[[], Mapping[str, Any]],
) -> Iterator[Unit]:
    """Read what no unit has yet, and commit unit by unit.

    Args:
        folder: of the units.
        source: what is read.
        done: its units that are there.
        read: the pieces of the source behind so many rows.
        take_facts: what was counted since it was last called.

    Yields:
        Each unit once it is committed.
    """
    if done and done[-1].last:
        return
    index, pieces, num_rows, num_bytes = len(done), list[Piece](), 0, 0
    for piece in read(sum(unit.rows for unit in done)):
        pieces.append(piece)
        num_rows, num_bytes = num_rows + piece.rows, num_bytes + int(piece.table.estimated_size())
        if num_rows >= UNIT_ROWS or num_bytes >= UNIT_BYTES:
            yield _commit(folder, source, index, pieces, dict(take_facts()), last=False)
            index, pieces, num_rows, num_bytes = index + 1, [], 0, 0
    yield _commit(folder, source, index, pieces, dict(take_facts()), last=True)


def _commit(
    folder: Path, source: Source, index: int, pieces: list[Piece], facts: dict[str, Any], *, last: bool
) -> Unit:
    tables = [piece.table for piece in pieces if piece.table.height]
    rejected = pl.concat([pl.DataFrame(schema=REJECTED), *(piece.rejected for piece in pieces)])
    parts: dict[str, int] = {}
    with atomic_folder(folder / unit_name(source.name, index)) as temporary:
        if tables:
            for (part,), rows in pl.concat(tables).partition_by("part", as_dict=True, include_key=False).items():
                rows.write_parquet(temporary / f"{part}.parquet")
                parts[str(part)] = rows.height
        if rejected.height:
            rejected.write_parquet(temporary / LEFT_OUT)
        unit = Unit(
            source=source.name,
            state=source.state,
            settings=source.settings,
            index=index,
            rows=sum(piece.rows for piece in pieces),
            kept=sum(parts.values()),
            rejected=sum(num_rows_of(piece.rejected) for piece in pieces),
            last=last,
            future=earliest(rejected, "published_at lies in the future"),
            rules=dict(rejected.group_by("rule", maintain_order=True).len().iter_rows()),
            parts=parts,
            facts=facts,
        )
        (temporary / UNIT).write_text(json.dumps(asdict(unit)), encoding="utf-8")
    return unit


def earliest(rejected: pl.DataFrame, rule: str) -> str | None:
    """The earliest time, or session, of rows that broke a rule; None where none did."""
    at = rejected.filter(pl.col("rule") == rule)["at"].min()
    return None if at is None else str(at)


def is_past(at: str | None, now: datetime) -> bool:
    """Whether a time of `earliest` has come."""
    return at is not None and at <= now.strftime("%Y-%m-%d %H:%M:%S UTC")


def num_rows_of(rejected: pl.DataFrame) -> int:
    """Rows of a piece that were left out, however many rules each broke."""
    return rejected.unique(["table", "symbol", "row", "record"]).height
