"""Where objects are kept: a bucket of S3 or a folder, each with a write that happens only if nobody was faster."""

import hashlib
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from flag_kedro.data.atomic import atomic_write
from flag_kedro.errors import ParameterError, StoreError

BATCH = 16
"""Files that are sent or fetched at a time."""
NETWORK = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 4, "mode": "standard"}}
"""How long botocore waits for S3, and how often it tries."""
CHANGED = (409, 412)
"""HTTP statuses of a conditional write that came too late, or at the same time as another."""


class OutrunError(Exception):
    """A conditional write found another version than it expected."""


@dataclass(frozen=True)
class Held:
    """An object as it was read."""

    content: bytes
    version: str
    """Changes whenever the content does."""


class Place(ABC):
    """Objects by name; names have slashes."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    @abstractmethod
    def read(self, name: str) -> Held | None:
        """An object; None where there is none."""

    @abstractmethod
    def swap(self, name: str, content: bytes, version: str | None) -> str:
        """Write an object if it is at `version` still, or if there is none and `version` is None; its new version.

        Raises:
            OutrunError: when somebody else was faster.
        """

    @abstractmethod
    def upload(self, files: Mapping[str, Path]) -> None:
        """Write objects, each whole, from files by the objects' names."""

    @abstractmethod
    def download(self, files: Mapping[str, Path]) -> None:
        """Read objects into files by the objects' names.

        Raises:
            FileNotFoundError: when one of them is not there.
        """

    @abstractmethod
    def names(self, folder: str) -> set[str]:
        """Names of all objects below `folder`."""

    @abstractmethod
    def remove(self, names: Collection[str]) -> None:
        """Remove objects that are there."""


class FolderPlace(Place):
    """A folder that all machines see."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._root = Path(unquote(urlsplit(url).path))

    def read(self, name: str) -> Held | None:
        """An object; None where there is none."""
        self._check()
        with reaching(self.url):
            try:
                content = (self._root / name).read_bytes()
            except FileNotFoundError:
                return None
        return Held(content, hashlib.sha256(content).hexdigest())

    def swap(self, name: str, content: bytes, version: str | None) -> str:
        """Write an object if it is at `version` still."""
        self._check()
        path = self._root / name
        with reaching(self.url):
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(f".{path.name}.lock")):
                held = self.read(name)
                if (None if held is None else held.version) != version:
                    raise OutrunError
                with atomic_write(path) as temporary:
                    temporary.write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    def upload(self, files: Mapping[str, Path]) -> None:
        """Copy files in."""
        self._check()
        with reaching(self.url):
            for name, path in files.items():
                with atomic_write(self._root / name) as temporary:
                    shutil.copyfile(path, temporary)

    def download(self, files: Mapping[str, Path]) -> None:
        """Copy files out."""
        with reaching(self.url):
            for name, path in files.items():
                shutil.copyfile(self._root / name, path)

    def names(self, folder: str) -> set[str]:
        """Names of all objects below `folder`."""
        files = (Path(base, file) for base, _, found in os.walk(self._root / folder) for file in found)
        return {path.relative_to(self._root).as_posix() for path in files if not path.name.startswith(".")}

    def remove(self, names: Collection[str]) -> None:
        """Remove objects that are there."""
        with reaching(self.url):
            for name in names:
                (self._root / name).unlink(missing_ok=True)

    def _check(self) -> None:
        """Make no folder where one should be mounted."""
        if not self._root.is_dir():
            raise StoreError(f"the store {self.url} is not there; make the folder {self._root}, or mount it")


class S3Place(Place):
    """A bucket, or what has a prefix in it; where S3 is and who asks is told by the variables that botocore reads."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        try:
            from s3fs import S3FileSystem
        except ImportError as error:
            raise ParameterError(f"store_url: {url} needs s3fs; pip install 'flag_kedro[cluster]'") from error
        split = urlsplit(self.url)
        self._bucket, self._prefix = split.netloc, split.path.strip("/")
        with reaching(self.url):
            self._files: Any = S3FileSystem(use_listings_cache=False, skip_instance_cache=True, config_kwargs=NETWORK)

    def read(self, name: str) -> Held | None:
        """An object; None where there is none. The read fails if it changes meanwhile, and is done again."""
        from s3fs.utils import FileExpired

        with reaching(self.url):
            while True:
                try:
                    with self._files.open(self._path(name), "rb") as stream:
                        return Held(stream.read(), stream.details["ETag"])
                except FileExpired:
                    continue
                except FileNotFoundError as error:
                    if not self._files.exists(self._bucket):
                        raise _no_bucket(self.url, error) from error
                    return None

    def swap(self, name: str, content: bytes, version: str | None) -> str:
        """Write an object if it is at `version` still."""
        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        key = self._path(name).removeprefix(f"{self._bucket}/")
        with reaching(self.url):
            try:
                put = self._files.call_s3("put_object", Bucket=self._bucket, Key=key, Body=content, **condition)
            except OSError as error:
                was_removed = version is not None and _answer(error)[1] == "NoSuchKey"
                if _answer(error)[0] in CHANGED or was_removed:
                    raise OutrunError from error
                raise
        return str(put["ETag"])

    def upload(self, files: Mapping[str, Path]) -> None:
        """Send files."""
        if files:
            with reaching(self.url):
                self._files.put(list(map(str, files.values())), list(map(self._path, files)), batch_size=BATCH)

    def download(self, files: Mapping[str, Path]) -> None:
        """Fetch files."""
        if files:
            with reaching(self.url):
                self._files.get(list(map(self._path, files)), list(map(str, files.values())), batch_size=BATCH)

    def names(self, folder: str) -> set[str]:
        """Names of all objects below `folder`."""
        with reaching(self.url):
            return {path.removeprefix(self._path("")) for path in self._files.find(self._path(folder))}

    def remove(self, names: Collection[str]) -> None:
        """Remove objects that are there."""
        if names:
            with reaching(self.url):
                self._files.rm(list(map(self._path, names)))

    def _path(self, name: str) -> str:
        return (
            "/".join(filter(None, (self._bucket, self._prefix, name)))
            if name
            else f"{self._bucket}/" + (f"{self._prefix}/" if self._prefix else "")
        )


def open_place(url: str) -> Place:
    """The place that `store_url` names.

    Raises:
        ParameterError: when it names none, or has a password in it.
    """
    split = urlsplit(url)
    if "@" in split.netloc:
        raise ParameterError(
            "store_url: it has a user or a password in it, which would be logged with every run; give "
            "s3://BUCKET/PREFIX alone, and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
        )
    if split.query or split.fragment or url.endswith(("?", "#")):
        raise ParameterError(
            "store_url: it has a ? or a #, behind which nothing would be read, so that two addresses would be one "
            "store; give s3://BUCKET/PREFIX, or file:///FOLDER with %3F or %23 instead"
        )
    if split.scheme == "s3" and split.netloc:
        return S3Place(url)
    if split.scheme == "file" and not split.netloc and split.path.startswith("/"):
        return FolderPlace(url)
    raise ParameterError(
        f"store_url: {url!r} is no store; give s3://BUCKET/PREFIX (export FLAG_KEDRO_STORE=... where conf/cluster is "
        "used), or file:///FOLDER for a folder that all machines see"
    )


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turn what a store does not answer into an error that says what to look at; objects that are not there stay so.

    Raises:
        StoreError: then.
    """
    try:
        yield
    except FileNotFoundError as error:
        if _answer(error)[1] == "NoSuchBucket":
            raise _no_bucket(url, error) from error
        raise
    except Exception as error:
        # botocore's errors are no OSErrors
        if isinstance(error, OSError) or type(error).__module__.startswith(("botocore", "aiobotocore", "aiohttp")):
            raise StoreError(f"the store {url} {_explain(url, error)}") from error
        raise


def _no_bucket(url: str, error: Exception) -> StoreError:
    return StoreError(f"the store {url} is not there ({error}); make the bucket, or correct store_url")


def _answer(error: Exception) -> tuple[int | None, str]:
    """HTTP status and code of what S3 answered, if it did."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}
    return response.get("ResponseMetadata", {}).get("HTTPStatusCode"), response.get("Error", {}).get("Code", "")


def _explain(url: str, error: Exception) -> str:
    """What went wrong, and what to do about it."""
    name = type(error).__name__
    computed = "What was computed is in the data folder, and the same command sends it"
    if url.startswith("file:"):
        return f"cannot be used ({error}); make it readable and writable, or mount it again. {computed}"
    if isinstance(error, PermissionError) or "Credentials" in name or _answer(error)[0] in (401, 403):
        return (
            f"lets nobody in ({error}); check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the machine's role), "
            f"which must read, write, list and delete there. {computed}"
        )
    return f"does not answer ({error or name}); check AWS_ENDPOINT_URL and the network. {computed}"
