"""The ledger: nothing lost, nothing twice, and no change goes unnoticed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flag_kedro.errors import DataError
from flag_kedro.pipelines.decide.nodes import keep_decisions
from flag_kedro.serving.ledger import FIRST, KEPT, append, as_lines, read

WRITER = """
import sys
from pathlib import Path
from flag_kedro.serving.ledger import append
path, name, start, stop = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
print("ready", flush=True)
for number in range(start, stop):
    line = {"id": f"{name}-{number}", "action": "buy", "text": "x" * 200, "fills_at": "2999-01-01T00:00:00+00:00"}
    append(path, [line])
    print(number, flush=True)
"""


def decision(number: int) -> dict[str, object]:
    fills_at = "2999-01-01T00:00:00+00:00"
    return {"id": f"d{number}", "symbol": "ALDR", "action": "buy", "probabilities": {"buy": 0.7}, "fills_at": fills_at}


def at(moment: str) -> Callable[[], datetime]:
    return lambda: datetime.fromisoformat(moment)


def filled(path: Path, num: int = 5) -> list[bytes]:
    append(path, [decision(number) for number in range(num)], at("2026-01-06T14:30:00+00:00"))
    return path.read_bytes().splitlines(keepends=True)


def test_lines_are_numbered_and_follow_each_other(tmp_path: Path):
    path = tmp_path / "folder" / "ledger.jsonl"
    first = append(path, [decision(0), decision(1)])
    second = append(path, [decision(1), decision(2)])
    assert (first.num_new, first.num_known, second.num_new, second.num_known) == (2, 0, 1, 1)
    lines = list(read(path))
    assert [line["id"] for line in lines] == ["d0", "d1", "d2"]
    assert [line["number"] for line in lines] == [1, 2, 3]
    assert [line["previous"] for line in lines] == [FIRST, lines[0]["hash"], lines[1]["hash"]]
    assert second.last_hash == lines[2]["hash"]


def decided(fills_at: str | None, policy: str = "p") -> dict[str, Any]:
    """What the pipeline decide writes, of one symbol; asked for long before."""
    each = {name: None for name in KEPT} | {
        "symbol": "ALDR", "session": "2026-01-05", "action": "buy", "prompt_sha256": "ab", "fills_at": fills_at
    }  # fmt: skip
    shared = {"asked_at": "2020-01-01T00:00:00+00:00", "market": "files", "backbone": "b", "data": "d"}
    return {**shared, "policy": policy, "decisions": [each]}


def test_what_counts_is_when_a_line_is_written(tmp_path: Path):
    """Not when it was asked for: whoever saves decisions and waits for the market has nothing that is kept."""
    path, opens = tmp_path / "ledger.jsonl", "2026-01-06T14:30:00+00:00"
    kept = append(path, as_lines(decided(opens)), at("2026-01-06T14:29:59+00:00"))
    again = append(path, as_lines(decided(opens)), at("2026-01-06T15:00:00+00:00"))
    late = append(path, as_lines(decided(opens, "another")), at(opens))
    assert (kept.num_new, again.num_known, late.num_late) == (1, 1, 1)
    (line,) = read(path)
    assert (line["symbol"], line["action"], line["written_at"]) == ("ALDR", "buy", "2026-01-06T14:29:59+00:00")
    assert as_lines(decided(None)) == []


def test_the_pipeline_keeps_what_is_to_come(tmp_path: Path):
    path = tmp_path / "ledger.jsonl"
    for fills_at in ("2999-01-01T00:00:00+00:00", "2020-01-02T00:00:00+00:00", None):
        keep_decisions(decided(fills_at, f"policy {fills_at}"), path)
    assert [line["fills_at"][:4] for line in read(path)] == ["2999"]


def test_a_ledger_that_is_not_there_is_empty(tmp_path: Path):
    assert list(read(tmp_path / "none.jsonl")) == []


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(line=st.integers(0, 4), place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_changed_byte_is_found_and_its_line_named(tmp_path: Path, line: int, place: float, flip: int):
    path = tmp_path / "ledger.jsonl"
    path.unlink(missing_ok=True)
    lines = filled(path)
    body = bytearray(lines[line])
    at = int(place * (len(body) - 1))
    body[at] ^= flip
    path.write_bytes(b"".join([*lines[:line], bytes(body), *lines[line + 1 :]]))
    with pytest.raises(DataError, match=rf"line {line + 1}:"):
        list(read(path))
    with pytest.raises(DataError, match=rf"line {line + 1}:"):
        append(path, [decision(9)])


@pytest.mark.parametrize(
    ("order", "number"), [([0, 2, 3, 4], 2), ([0, 2, 1, 3, 4], 2), ([0, 1, 1, 2, 3, 4], 3), ([1, 2, 3, 4], 1)]
)
def test_missing_moved_and_doubled_lines_are_found(order: list[int], number: int, tmp_path: Path):
    path = tmp_path / "ledger.jsonl"
    lines = filled(path)
    path.write_bytes(b"".join(lines[index] for index in order))
    with pytest.raises(DataError, match=rf"line {number}: says that it is line"):
        list(read(path))


def test_a_line_forged_with_a_right_hash_of_its_own_breaks_the_chain(tmp_path: Path):
    path, other = tmp_path / "ledger.jsonl", tmp_path / "other.jsonl"
    lines = filled(path)
    append(other, [decision(7), decision(8), decision(9)])
    forged = other.read_bytes().splitlines(keepends=True)[2]
    path.write_bytes(b"".join([*lines[:2], forged, *lines[3:]]))
    with pytest.raises(DataError, match="line 3: does not follow the line before it"):
        list(read(path))


def test_an_unfinished_last_line_was_never_told_of(tmp_path: Path):
    path = tmp_path / "ledger.jsonl"
    lines = filled(path)
    for cut in (1, 20, len(lines[4]) - 1):
        path.write_bytes(b"".join(lines[:4]) + lines[4][:cut])
        assert len(list(read(path))) == 4
        append(path, [decision(4)], at("2026-01-06T14:30:00+00:00"))
        assert path.read_bytes() == b"".join(lines)


def start(path: Path, name: str, first: int, last: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(path), name, str(first), str(last)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    return writer


def test_two_writers_and_twenty_kills_lose_nothing_and_write_nothing_twice(tmp_path: Path):
    path, draw = tmp_path / "ledger.jsonl", random.Random(0)
    told: set[str] = set()
    steady = start(path, "steady", 0, 500)
    next_number = 0
    for _ in range(20):
        writer = start(path, "killed", next_number, 500)
        time.sleep(draw.uniform(0.0, 0.05))
        os.kill(writer.pid, signal.SIGKILL)
        out, _ = writer.communicate()
        numbers = [int(line) for line in out.splitlines() if line.isdigit()]
        told |= {f"killed-{number}" for number in numbers}
        next_number = max([next_number, *(number + 1 for number in numbers)])
    start(path, "killed", 0, 500).communicate()  # from the beginning: what is known is not written again
    steady.communicate()
    assert steady.returncode == 0
    ids = [line["id"] for line in read(path)]
    assert len(ids) == len(set(ids)) == 1000
    assert told <= set(ids)
    assert {f"{name}-{number}" for name in ("steady", "killed") for number in range(500)} == set(ids)
    assert all(json.loads(line) for line in path.read_text().splitlines())
