"""What a run writes is in the store while it goes on; a run that loses its store stops."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flag_kedro.errors import BusyError, StoreError
from flag_kedro.stores.config import StoreConfig
from flag_kedro.stores.mirror import Mirror, Units
from flag_kedro.stores.object_store import ObjectStore
from flag_kedro.stores.place import FolderPlace, open_place

QUICK = StoreConfig(lease_seconds=0.6, sync_seconds=0.05)


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    (tmp_path / "store").mkdir()
    return f"file://{tmp_path}/store"


def begun(folder: Path, url: str, units: Units, failures: list[str] | None = None) -> Mirror:
    mirror = Mirror(folder, url, QUICK, [].append if failures is None else failures.append)
    mirror.begin(units)
    return mirror


def wait_until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.01)


def stored(url: str) -> set[str]:
    store = ObjectStore(open_place(url), "reader", "reader", 1.0)
    store._read()
    return set(store.manifest.files)


def test_growing_folders_are_sent_while_a_node_runs(tmp_path: Path, store_url: str) -> None:
    mirror = begun(tmp_path / "one", store_url, Units(growing=["rows"]))
    (tmp_path / "one" / "rows").mkdir()
    (tmp_path / "one" / "rows" / "first.json").write_text("1")
    wait_until(lambda: stored(store_url) == {"rows/first.json"})
    (tmp_path / "one" / "rows" / "first.json").unlink()
    wait_until(lambda: stored(store_url) == set())
    (tmp_path / "one" / "table").write_text("whole")
    mirror.send("table")
    assert stored(store_url) == {"table"}
    mirror.end()


def test_a_store_is_free_once_the_run_has_ended_and_held_until_then(tmp_path: Path, store_url: str) -> None:
    mirror = begun(tmp_path / "one", store_url, Units())
    with pytest.raises(BusyError, match=r"process \d+ on .*, which works in .*one"):
        begun(tmp_path / "two", store_url, Units())
    mirror.end()
    begun(tmp_path / "two", store_url, Units()).end()


def test_a_run_whose_store_was_taken_over_is_stopped_and_sends_nothing(tmp_path: Path, store_url: str) -> None:
    failures: list[str] = []
    mirror = begun(tmp_path / "one", store_url, Units(growing=["rows"]), failures)
    thief = ObjectStore(open_place(store_url), "another machine", "x", 60.0, clock=lambda: time.time() + 10)
    thief.acquire()  # by its clock the lease is over
    wait_until(lambda: bool(failures))
    assert "taken over by another machine" in failures[0]
    (tmp_path / "one" / "rows").mkdir()
    (tmp_path / "one" / "rows" / "late.json").write_text("1")
    with pytest.raises(StoreError, match="taken over by another machine"):
        mirror.send("rows")
    mirror.end(failed=True)
    assert stored(store_url) == set()
    thief.renew()


def test_a_store_that_vanishes_stops_the_run_and_the_next_one_sends_what_it_computed(
    tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[str] = []
    mirror = begun(tmp_path / "one", store_url, Units(growing=["rows"]), failures)
    with monkeypatch.context() as patch:

        def vanish(self: FolderPlace, files: object) -> None:
            raise StoreError("the store does not answer")

        patch.setattr(FolderPlace, "upload", vanish)
        (tmp_path / "one" / "rows").mkdir()
        (tmp_path / "one" / "rows" / "first.json").write_text("1")
        wait_until(lambda: bool(failures))
        with pytest.raises(StoreError, match="does not answer"):
            mirror.check()
        mirror.end(failed=True)
    assert stored(store_url) == set()
    begun(tmp_path / "one", store_url, Units(growing=["rows"])).end()  # on the same disk: it need not wait
    assert stored(store_url) == {"rows/first.json"}


def test_a_run_that_cannot_begin_changes_nothing(tmp_path: Path, store_url: str) -> None:
    begun(tmp_path / "one", store_url, Units(growing=["rows"])).end()
    (tmp_path / "one" / "rows").mkdir()
    (tmp_path / "one" / "rows" / "first.json").write_text("1")
    begun(tmp_path / "one", store_url, Units(growing=["rows"])).end()
    (name,) = open_place(store_url).names("objects")
    (tmp_path / "store" / name).write_text("damaged")
    with pytest.raises(Exception, match="is damaged"):
        begun(tmp_path / "two", store_url, Units(growing=["rows"]))
    assert stored(store_url) == {"rows/first.json"}
    begun(tmp_path / "one", store_url, Units()).end()  # nobody holds it
