"""A data folder and its store agree before a run; what either has alone is not lost."""

import shutil
from pathlib import Path

import pytest

from flag_kedro.stores.cached_rows import CachedRows
from flag_kedro.stores.object_store import ObjectStore
from flag_kedro.stores.place import open_place
from flag_kedro.stores.snapshot import UnsettledError, scan, staged
from flag_kedro.stores.working_copy import REPLACED, SyncState, WorkingCopy


class Machine:
    """A data folder with the store in hand, one after the other: each takes it over from the one before."""

    def __init__(self, folder: Path, url: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.store = folder, ObjectStore(open_place(url), folder.name, folder.name, seconds=0.0)
        self.store.acquire()
        self.copy = WorkingCopy(folder, SyncState(folder), self.store)

    def write(self, **files: str) -> None:
        for name, text in files.items():
            path = self.folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def files(self, unit: str) -> dict[str, str]:
        path = self.folder / unit
        return {name: (path / name if name else path).read_text() for name in scan(path)}


@pytest.fixture
def machines(url: str, tmp_path: Path):
    return lambda name: Machine(tmp_path / name, url)


def test_another_machine_gets_files_and_folders_as_they_were_sent(machines) -> None:
    one = machines("one")
    one.write(table="rows", folder__a="1", folder__deep__b="2", folder__empty="", other="not asked for")
    one.write(**{"folder__.hidden": "x", "folder__a.lock": "x", "folder__.finished": "key"})
    one.copy.commit(["table", "folder", "other"])
    two = machines("two")
    for unit in ("table", "folder"):
        two.copy.reconcile(unit)
    assert two.files("table") == {"": "rows"}
    assert two.files("folder") == {"a": "1", "deep/b": "2", "empty": "", ".finished": "key"}
    assert not (two.folder / "other").exists()


def test_what_was_replaced_or_removed_elsewhere_is_so_here(machines) -> None:
    one = machines("one")
    one.write(table="old", folder__a="1", folder__b="2", gone__c="3")
    one.copy.commit(["table", "folder", "gone"])
    two = machines("two")
    two.copy.reconcile("folder")
    two.write(table="new", folder__a="1", folder__d="4")
    (two.folder / "folder" / "b").unlink()
    two.copy.commit(["table", "folder", "gone"])
    one = machines("one")
    for unit in ("table", "folder", "gone"):
        one.copy.reconcile(unit)
    assert one.files("table") == {"": "new"}
    assert one.files("folder") == {"a": "1", "d": "4"}
    assert not (one.folder / "gone").exists()
    assert not (one.folder / REPLACED).exists()


def test_what_a_killed_run_could_not_send_is_sent_by_the_next_one(machines) -> None:
    one = machines("one")
    one.write(table="old", new__a="never sent")
    one.copy.commit(["table"])
    one.write(table="computed, then killed")
    again = machines("one")
    for unit in ("table", "new"):
        again.copy.reconcile(unit)
    two = machines("two")
    for unit in ("table", "new"):
        two.copy.reconcile(unit)
    assert two.files("table") == {"": "computed, then killed"}
    assert two.files("new") == {"a": "never sent"}


def test_where_both_changed_the_store_counts_and_the_other_is_put_aside(
    machines, caplog: pytest.LogCaptureFixture
) -> None:
    one = machines("one")
    one.write(folder__a="old")
    one.copy.commit(["folder"])
    one.write(folder__a="here")
    two = machines("two")
    two.write(folder__a="elsewhere")
    two.copy.commit(["folder"])
    one = machines("one")
    one.copy.reconcile("folder")
    assert one.files("folder") == {"a": "elsewhere"}
    assert one.files(f"{REPLACED}/folder") == {"a": "here"}
    assert "what the store has counts" in caplog.text


def test_what_was_put_aside_before_stays(machines) -> None:
    one, two = machines("one"), machines("two")
    for number in range(3):
        one, two = machines("one"), machines("two")
        one.write(table=f"here {number}", folder__a=f"here {number}")
        two.write(table=f"elsewhere {number}", folder__a=f"elsewhere {number}")
        two.copy.commit(["table", "folder"])
        one = machines("one")
        for unit in ("table", "folder"):
            one.copy.reconcile(unit)
    aside = [
        one.files(f"{REPLACED}/{name}") for name in ("table", "table.2", "table.3", "folder", "folder.2", "folder.3")
    ]
    assert aside == [{name: f"here {number}"} for name in ("", "a") for number in range(3)]


def test_a_folder_of_another_store_is_no_base(machines, tmp_path: Path) -> None:
    one = machines("one")
    one.write(table="sent to the first store")
    one.copy.commit(["table"])
    (tmp_path / "other").mkdir()
    other = Machine(tmp_path / "one", f"file://{tmp_path}/other")
    other.copy.reconcile("table")
    assert other.store.manifest.below("table")
    assert other.files("table") == {"": "sent to the first store"}


def test_what_is_the_same_is_neither_sent_nor_written_again(machines, monkeypatch: pytest.MonkeyPatch) -> None:
    one = machines("one")
    one.write(folder__a="1")
    one.copy.commit(["folder"])
    serial = one.store.manifest.serial
    monkeypatch.setattr(one.store.place, "upload", lambda files: pytest.fail(f"sent again: {files}"))
    one.copy.commit(["folder"])
    one.copy.reconcile("folder")
    assert one.store.manifest.serial == serial


def test_files_are_staged_as_they_were_at_one_moment(tmp_path: Path) -> None:
    folder, stage = tmp_path / "folder", tmp_path / "stage"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text(name)
    found = scan(folder)
    with staged(folder, found, found, stage) as files:
        (folder / "a").unlink()
        (folder / "b.new").write_text("replaced")
        (folder / "b.new").replace(folder / "b")
        assert {name: path.read_text() for name, path in files.items()} == {"a": "a", "b": "b"}
    with pytest.raises(UnsettledError), staged(folder, found, ["b"], stage):
        pytest.fail("a is gone")
    assert not list(stage.iterdir())


def test_rows_come_and_go_one_by_one(url: str, tmp_path: Path) -> None:
    one = CachedRows("rows", tmp_path / "one", open_place(url))
    two = CachedRows("rows", tmp_path / "two", open_place(url))
    for name in ("ab/first", "cd/second"):
        (tmp_path / "one" / name).parent.mkdir(parents=True)
        (tmp_path / "one" / name).write_text(name)
    one.fetch()
    one.send()
    (tmp_path / "two" / "ef").mkdir(parents=True)
    (tmp_path / "two" / "ef" / "third").write_text("third")
    two.fetch()  # both at once: rows need no lease
    two.send()
    (tmp_path / "one" / "ab" / "first").write_text("made again")
    one.send()
    shutil.rmtree(tmp_path / "two")
    two.fetch()
    there = {name: (tmp_path / "two" / name).read_text() for name in scan(tmp_path / "two")}
    assert there == {"ab/first": "made again", "cd/second": "cd/second", "ef/third": "third"}
    assert scan(tmp_path / "one").keys() == {"ab/first", "cd/second"}


def test_only_new_rows_are_sent(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a").write_text("a")
    rows, place = CachedRows("rows", tmp_path / "one", open_place(url)), open_place(url)
    rows.fetch()
    rows.send()
    sent: list[str] = []
    monkeypatch.setattr(type(place), "upload", lambda self, files: sent.extend(files))
    rows.send()
    (tmp_path / "one" / "b").write_text("b")
    rows.send()
    assert sent == ["rows/rows/b"]


def test_a_data_folder_that_was_copied_is_another_working_copy(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    state = SyncState(tmp_path / "one")
    state.begin("file:///store")
    assert SyncState(tmp_path / "one").working_copy == state.working_copy
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert SyncState(tmp_path / "two").working_copy != state.working_copy
