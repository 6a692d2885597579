"""The ledger: decisions as they were taken, one line each, that nobody can change unnoticed afterwards.

Every line carries the hash of the line before it and its own. So a line that is changed, left out, moved or put in
breaks the chain where it stands. Who cuts lines off the end leaves a whole chain: keep the last hash elsewhere.

Lines are appended under a lock and synced before anybody is told. A process that is killed while it writes leaves a
line without its end; the next one to append takes it away, since nobody was told of it.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from flag_kedro.errors import DataError

FIRST = "0" * 64
"""What the first line has for the hash of the line before."""
KEPT = (
    "symbol",
    "session",
    "decided_at",
    "fill",
    "fills_at",
    "position",
    "action",
    "probabilities",
    "value",
    "prompt_sha256",
)
"""What a line has of a decision."""
Line = dict[str, Any]


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Appended:
    """What became of decisions that were handed over."""

    num_new: int
    num_known: int
    """That stood in the ledger already, by their `id`."""
    num_late: int
    """Not appended: their fill was made, or could have been, when they came to be written."""
    last_hash: str
    """Of the last line: whoever keeps it can tell later whether lines were cut off."""


def as_lines(decision: Mapping[str, Any]) -> list[Line]:
    """The decisions of `--pipelines=decide` that fill later than at the close that they are taken at, as lines.

    Args:
        decision: `asked_at`, `market`, `policy`, `backbone`, `data`, and `decisions`, each a `serving.decide.Decision`.
    """
    shared = {name: decision[name] for name in ("asked_at", "market", "policy", "backbone", "data")}
    lines = []
    for each in decision["decisions"]:
        if each["fills_at"] is not None:
            name = "|".join((decision["policy"], each["symbol"], each["session"], each["prompt_sha256"]))
            own = {field: each[field] for field in KEPT}
            lines.append({"id": hashlib.sha256(name.encode()).hexdigest(), **shared, **own})
    return lines


def append(path: Path, decisions: Sequence[Mapping[str, Any]], clock: Callable[[], datetime] = utc_now) -> Appended:
    """Append decisions that the ledger does not have yet and that are not filled yet, synced to disk.

    Args:
        path: of the ledger; it is made where there is none.
        decisions: fit for JSON, each with an `id`, and `fills_at` (UTC); without `number`, `previous`, `written_at` and
            `hash`.
        clock: read once the ledger is locked: what counts is when a line is written.

    Raises:
        DataError: when a line was changed, is missing or was put in.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        _drop_unfinished(path)
        lines = list(read(path))
        known, last = {line["id"] for line in lines}, lines[-1]["hash"] if lines else FIRST
        new: list[Line] = []
        now, num_known = clock(), 0
        for decision in decisions:
            if decision["id"] in known:
                num_known += 1
                continue
            if now >= datetime.fromisoformat(decision["fills_at"]):
                continue
            number = len(lines) + len(new) + 1
            line = _sealed({"number": number, "previous": last, "written_at": now.isoformat(), **decision})
            known.add(decision["id"])
            last = line["hash"]
            new.append(line)
        with path.open("ab") as stream:
            stream.write(b"".join(map(_as_bytes, new)))
            stream.flush()
            os.fsync(stream.fileno())
    return Appended(len(new), num_known, len(decisions) - len(new) - num_known, last)


def read(path: Path) -> Iterator[Line]:
    """Lines in their order, each checked against the one before; none where there is no ledger.

    A last line without its end is not read: its writer was killed, or is still writing.

    Raises:
        DataError: naming the first line that does not fit.
    """
    if not path.exists():
        return
    previous = FIRST
    *whole, _unfinished = path.read_bytes().split(b"\n")
    for number, raw in enumerate(whole, start=1):
        line = _checked(path, raw, number, previous)
        previous = line["hash"]
        yield line


def _checked(path: Path, raw: bytes, number: int, previous: str) -> Line:
    """A line, if it is the `number`-th and follows the one whose hash is `previous`.

    Raises:
        DataError: saying what is wrong.
    """
    try:
        line: Line = json.loads(raw)
        whole = isinstance(line, dict) and {"number", "previous", "hash", "id"} <= line.keys()
    except ValueError:
        whole = False
    if not whole:
        raise _broken(path, number, "is no line of a ledger")
    if _sealed({name: value for name, value in line.items() if name != "hash"})["hash"] != line["hash"]:
        raise _broken(path, number, "was changed: its hash is another")
    if line["number"] != number:
        raise _broken(path, number, f"says that it is line {line['number']}: lines are missing, doubled or moved")
    if line["previous"] != previous:
        raise _broken(path, number, "does not follow the line before it, which was changed or put in")
    return line


def _broken(path: Path, number: int, what: str) -> DataError:
    return DataError(
        f"{path}, line {number}: {what}. A ledger is only ever appended to; put back the copy that is whole, or begin "
        "a new one by moving this one away"
    )


def _sealed(line: Mapping[str, Any]) -> Line:
    """The line with its own hash."""
    return {**line, "hash": hashlib.sha256(_as_text(line).encode()).hexdigest()}


def _as_text(line: Mapping[str, Any]) -> str:
    return json.dumps(line, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _as_bytes(line: Mapping[str, Any]) -> bytes:
    return (_as_text(line) + "\n").encode()


def _drop_unfinished(path: Path) -> None:
    """Take away what a killed writer left behind the last whole line; the lock is held."""
    if not path.exists():
        return
    whole = path.read_bytes()
    end = whole.rfind(b"\n") + 1
    if end < len(whole):
        with path.open("r+b") as stream:
            stream.truncate(end)
            os.fsync(stream.fileno())
