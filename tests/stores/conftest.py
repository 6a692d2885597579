"""Empty stores."""

from pathlib import Path
from uuid import uuid4

import pytest

from bucket_server import Buckets


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of an empty store, in a folder and on S3."""
    if request.param == "file":
        (tmp_path / "store").mkdir()
        return f"file://{tmp_path}/store"
    found: Buckets = request.getfixturevalue("buckets")
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    return f"{found.make(uuid4().hex)}/a/prefix"
