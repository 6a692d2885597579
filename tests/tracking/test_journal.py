"""What could not be sent waits on disk."""

from pathlib import Path

import pytest

from flag_kedro.tracking.journal import Call, Journal


def calls(*names: str) -> list[Call]:
    return [{"call": name, "run_id": "r"} for name in names]


def kept(folder: Path, *names: str) -> Journal:
    for call in calls(*names):
        Journal(folder).keep(call)  # as later processes would
    return Journal(folder)


def test_calls_are_sent_in_order_and_then_nothing_is_left(tmp_path: Path):
    journal, sent = kept(tmp_path / "unsent", "a", "b", "c"), list[Call]()
    assert len(journal) == 3
    assert journal.replay(sent.append) == {}
    assert sent == calls("a", "b", "c")
    assert len(journal) == 0
    assert not (tmp_path / "unsent").exists()


def test_what_was_not_sent_stays(tmp_path: Path):
    def fail_at_b(call: Call) -> None:
        if call["call"] == "b":
            raise ConnectionError("away")

    journal, sent = kept(tmp_path, "a", "b", "c"), list[Call]()
    with pytest.raises(ConnectionError):
        journal.replay(fail_at_b)
    Journal(tmp_path).replay(sent.append)
    assert sent == calls("b", "c")


def test_later_calls_name_a_run_as_the_store_does_even_after_a_failure(tmp_path: Path):
    given: list[Call] = []

    def create_then_fail(call: Call) -> str | None:
        if call["call"] != "create":
            raise ConnectionError("away")
        return "theirs"

    journal = kept(tmp_path, "create", "log")
    with pytest.raises(ConnectionError):
        journal.replay(create_then_fail)
    Journal(tmp_path).replay(given.append)
    assert given == [{"call": "log", "run_id": "theirs"}]


def test_files_are_copied_since_the_next_run_replaces_them(tmp_path: Path):
    source = tmp_path / "policy"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "weights").write_text("1")
    journal = Journal(tmp_path / "unsent")
    path = journal.keep_file(source)
    (source / "deep" / "weights").write_text("2")
    assert (journal.folder / path / "deep" / "weights").read_text() == "1"
    assert Path(path).name == "policy"


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path: Path):
    journal, sent = kept(tmp_path, "a"), list[Call]()
    with journal.calls_file.open("a") as stream:
        stream.write('{"call": "b", "run')
    journal.replay(sent.append)
    assert sent == calls("a")
