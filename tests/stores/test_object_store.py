"""A store is changed whole or not at all, by one run at a time."""

from pathlib import Path

import pytest

from flag_kedro.errors import BusyError, DataError, ParameterError, StoreError
from flag_kedro.policy.manifest import hash_file
from flag_kedro.stores import object_store
from flag_kedro.stores.manifest import MANIFEST, Entry
from flag_kedro.stores.object_store import ObjectStore
from flag_kedro.stores.place import OutrunError, Place, open_place


class Clock:
    """Time that passes when somebody waits."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def store_at(url: str, clock: Clock, owner: str) -> ObjectStore:
    return ObjectStore(open_place(url), owner, working_copy=owner, seconds=6, clock=clock)


def file_of(folder: Path, content: bytes) -> tuple[Entry, Path]:
    path = folder / content.hex()
    path.write_bytes(content)
    return Entry(hash_file(path), len(content)), path


def put(store: ObjectStore, folder: Path, **files: bytes) -> None:
    made = {name: file_of(folder, content) for name, content in files.items()}
    units = {name: {name: entry} for name, (entry, _) in made.items()}
    store.commit(units, {entry.sha256: path for entry, path in made.values()})


def content(url: str, folder: Path) -> dict[str, bytes]:
    """What somebody else reads."""
    reader = store_at(url, Clock(), "reader")
    reader._read()
    found = {folder / f"read-{name}": entry for name, entry in reader.manifest.files.items()}
    reader.fetch(found)
    return {path.name.removeprefix("read-"): path.read_bytes() for path in found}


def test_a_write_on_condition_happens_once(url: str) -> None:
    place = open_place(url)
    assert place.read("any") is None
    first = place.swap("any", b"1", None)
    with pytest.raises(OutrunError):
        place.swap("any", b"2", None)
    second = place.swap("any", b"3", first)
    with pytest.raises(OutrunError):
        place.swap("any", b"4", first)
    held = place.read("any")
    assert held is not None
    assert (held.content, held.version) == (b"3", second)


def test_what_is_committed_is_read_and_what_is_replaced_is_removed_one_change_later(url: str, tmp_path: Path) -> None:
    store = store_at(url, Clock(), "one")
    store.acquire()
    put(store, tmp_path, a=b"first", b=b"twin", c=b"twin")
    assert content(url, tmp_path) == {"a": b"first", "b": b"twin", "c": b"twin"}
    assert len(store.place.names("objects")) == 2  # equal content is kept once
    put(store, tmp_path, a=b"second")
    assert len(store.place.names("objects")) == 3  # for who reads the change before
    put(store, tmp_path, d=b"third")
    assert store.place.names("objects") == store.manifest.objects()
    assert content(url, tmp_path) == {"a": b"second", "b": b"twin", "c": b"twin", "d": b"third"}


def test_a_kill_between_upload_and_manifest_changes_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(url, Clock(), "one")
    store.acquire()
    put(store, tmp_path, a=b"old", b=b"old too")

    def die(*_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(store.place), "swap", die)
        with pytest.raises(KeyboardInterrupt):
            put(store, tmp_path, a=b"new", b=b"new too")
    assert content(url, tmp_path) == {"a": b"old", "b": b"old too"}
    assert len(store.place.names("objects")) == 4
    store.sweep()
    assert content(url, tmp_path) == {"a": b"old", "b": b"old too"}
    assert store.place.names("objects") == store.manifest.objects()


def test_a_second_run_waits_for_a_sign_of_life_and_is_refused(url: str, tmp_path: Path) -> None:
    clock = Clock()
    one, two = store_at(url, clock, "process 7 on alder"), store_at(url, clock, "two")
    one.acquire()

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if clock.now >= 1_002:
            one.renew()

    with pytest.raises(BusyError, match=r"process 7 on alder, whose lease holds until 1970-01-01T00:16:48"):
        two.acquire(sleep)
    assert clock.now == 1_002
    put(one, tmp_path, a=b"goes on")
    one.release()
    two.acquire()


def test_a_run_that_lost_its_lease_changes_nothing_any_more(url: str, tmp_path: Path) -> None:
    clock = Clock()
    one, two = store_at(url, clock, "one"), store_at(url, clock, "two")
    one.acquire()
    put(one, tmp_path, a=b"of one")
    two.acquire(clock.sleep)  # one gives no sign of life
    assert clock.now == pytest.approx(1_006)
    put(two, tmp_path, a=b"of two")
    for _ in range(2):
        with pytest.raises(StoreError, match="taken over by two"):
            put(one, tmp_path, a=b"too late")
    for call in (one.renew, one.release):
        with pytest.raises(StoreError, match="taken over by two"):
            call()
    assert one.is_lost
    assert content(url, tmp_path) == {"a": b"of two"}
    two.renew()


def test_a_lease_that_ran_out_is_still_held_if_nobody_came(url: str, tmp_path: Path) -> None:
    clock = Clock()
    store = store_at(url, clock, "one")
    store.acquire()
    clock.now += 10_000
    put(store, tmp_path, a=b"slow")
    assert content(url, tmp_path) == {"a": b"slow"}


def test_a_run_on_the_same_working_copy_need_not_wait(url: str) -> None:
    clock = Clock()
    store_at(url, clock, "one").acquire()  # killed; its successor has the lock of the data folder
    successor = store_at(url, clock, "one")
    successor.acquire(sleep=pytest.fail)
    successor.renew()
    assert not successor.is_lost


def test_an_answer_that_was_lost_is_no_loss(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network drops the answer to a write, and botocore repeats it: the second one comes too late, for its own."""
    store = store_at(url, Clock(), "one")
    store.acquire()
    swap = type(store.place).swap

    def twice(place: Place, name: str, content: bytes, version: str | None) -> str:
        swap(place, name, content, version)
        return swap(place, name, content, version)

    with monkeypatch.context() as patch:
        patch.setattr(type(store.place), "swap", twice)
        put(store, tmp_path, a=b"arrived")
    put(store, tmp_path, b=b"next")
    assert content(url, tmp_path) == {"a": b"arrived", "b": b"next"}


@pytest.mark.parametrize("last", ["the network", "S3"])
def test_a_write_that_arrived_or_was_refused_for_no_other_is_made_again(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    """The answer to a write is lost for good; and S3 refuses one of two writes at once, though the other fails too."""
    store = store_at(url, Clock(), "one")
    store.acquire()
    swap = type(store.place).swap

    def fail(place: Place, name: str, content: bytes, version: str | None) -> str:
        monkeypatch.setattr(type(store.place), "swap", swap)
        if last == "S3":
            raise OutrunError
        swap(place, name, content, version)
        raise StoreError("no answer")

    monkeypatch.setattr(type(store.place), "swap", fail)
    if last == "S3":
        store.renew()
    else:
        with pytest.raises(StoreError, match="no answer"):
            store.renew()
    put(store, tmp_path, a=b"goes on")
    assert not store.is_lost
    assert content(url, tmp_path) == {"a": b"goes on"}


def test_a_store_that_refuses_every_write_of_its_only_run_is_an_error(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(url, Clock(), "one")
    store.acquire()

    def refuse(*_: object) -> str:
        raise OutrunError

    monkeypatch.setattr(object_store, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(type(store.place), "swap", refuse)
    with pytest.raises(StoreError, match="refuses writes though no other run has written"):
        put(store, tmp_path, a=b"1")
    assert not store.is_lost


def test_a_run_that_slept_while_it_listed_objects_removes_none_of_its_successors(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    one, two = store_at(url, clock, "one"), store_at(url, clock, "two")
    one.acquire()
    names = type(one.place).names

    def sleep_before(place: Place, folder: str) -> set[str]:
        clock.now += 10
        two.acquire()
        put(two, tmp_path, a=b"of two")
        return names(place, folder)

    monkeypatch.setattr(type(one.place), "names", sleep_before)
    with pytest.raises(StoreError, match="taken over by two"):
        one.sweep()
    assert content(url, tmp_path) == {"a": b"of two"}


def test_a_store_without_conditional_writes_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(url, Clock(), "one")
    swap = type(store.place).swap

    def careless(place: Place, name: str, content: bytes, version: str | None) -> str:
        held = place.read(name)
        return swap(place, name, content, None if held is None else held.version)

    monkeypatch.setattr(type(store.place), "swap", careless)
    with pytest.raises(StoreError, match="does not know conditional writes"):
        store.acquire()


def test_a_manifest_that_somebody_removed_ends_the_run(url: str, tmp_path: Path) -> None:
    store = store_at(url, Clock(), "one")
    store.acquire()
    store.place.remove([MANIFEST])
    with pytest.raises(StoreError, match="taken over by somebody who removed its manifest"):
        put(store, tmp_path, a=b"1")


def test_damaged_and_lost_objects_are_named(url: str, tmp_path: Path) -> None:
    store = store_at(url, Clock(), "one")
    store.acquire()
    put(store, tmp_path, a=b"sound")
    (name,) = store.place.names("objects")
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"other")
    store.place.upload({name: damaged})
    with pytest.raises(DataError, match=f"{name} is damaged"):
        content(url, tmp_path)
    store.place.remove([name])
    with pytest.raises(DataError, match="has lost an object"):
        content(url, tmp_path)


def test_a_manifest_of_another_format_is_refused(url: str) -> None:
    store = store_at(url, Clock(), "one")
    store.place.swap(MANIFEST, b'{"format": 2}', None)
    with pytest.raises(DataError, match="its format is 2"):
        store.acquire()


@pytest.mark.parametrize("url", ["bucket/prefix", "s3://", "file://relative/folder", "gs://bucket", ""])
def test_what_is_no_address_of_a_store_is_refused(url: str) -> None:
    with pytest.raises(ParameterError, match=r"give s3://BUCKET/PREFIX"):
        open_place(url)


@pytest.mark.parametrize("url", ["s3://bucket/run#1", "file:///folder?a", "s3://bucket/a?key=hidden"])
def test_two_addresses_are_never_one_store(url: str) -> None:
    with pytest.raises(ParameterError, match=r"two addresses would be one store") as refused:
        open_place(url)
    assert "hidden" not in str(refused.value)


def test_an_address_with_a_password_is_refused_without_repeating_it() -> None:
    with pytest.raises(ParameterError, match="AWS_ACCESS_KEY_ID") as refused:
        open_place("s3://key:hidden@bucket/prefix")
    assert "hidden" not in str(refused.value)
