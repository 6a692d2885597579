"""A store that does not answer says what to look at."""

from pathlib import Path
from uuid import uuid4

import pytest

from bucket_server import Buckets
from flag_kedro.errors import StoreError
from flag_kedro.stores import place
from flag_kedro.stores.place import open_place


@pytest.fixture(autouse=True)
def _on_s3(buckets: Buckets, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in buckets.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(place.NETWORK, "retries", {"max_attempts": 1, "mode": "standard"})


def test_a_bucket_that_is_not_there_is_named() -> None:
    with pytest.raises(StoreError, match=r"s3://nowhere/x is not there .* make the bucket"):
        open_place("s3://nowhere/x").read("any")
    with pytest.raises(StoreError, match=r"is not there"):
        open_place("s3://nowhere/x").swap("any", b"", None)


def test_without_credentials_the_variables_are_named(buckets: Buckets, monkeypatch: pytest.MonkeyPatch) -> None:
    url = buckets.make(uuid4().hex)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with pytest.raises(StoreError, match=r"lets nobody in .* AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        open_place(url).read("any")


def test_an_endpoint_that_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match=r"does not answer .*127.0.0.1:9.* check AWS_ENDPOINT_URL"):
        open_place("s3://bucket").read("any")


def test_a_folder_that_is_not_mounted_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is not there; make the folder .*, or mount it"):
        open_place(f"file://{tmp_path}/mount").read("any")
    assert not (tmp_path / "mount").exists()
