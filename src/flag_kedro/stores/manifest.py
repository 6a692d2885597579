"""What a store holds and who holds the store: one small object, written last and only by whoever read it last.

Content lies beside it in objects that are named by their sha256 and never change. So a reader sees all files as they
were before a change or as they are after it, and a writer that was overtaken cannot change anything.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from flag_kedro.errors import DataError

MANIFEST = "MANIFEST.json"
FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """Content of a file."""

    sha256: str
    size: int
    """In bytes."""

    @property
    def object_name(self) -> str:
        """Name of the object that has the content."""
        return f"objects/{self.sha256[:2]}/{self.sha256}"


@dataclass(frozen=True)
class Lease:
    """Who may change the store, and until when."""

    owner: str
    """Machine, process and data folder, for people."""
    working_copy: str
    """Of the data folder: a run that has its lock knows that no other run on it lives."""
    nonce: str
    """Of the run."""
    expires: float
    """Seconds since 1970."""


@dataclass(frozen=True)
class Manifest:
    """Files by their path below the data folder, and the lease."""

    files: Mapping[str, Entry] = field(default_factory=dict)
    lease: Lease | None = None
    serial: int = 0
    """Number of changes before."""

    def below(self, unit: str) -> dict[str, Entry]:
        """Entries of a file, or of all files in a folder, by path."""
        return {path: entry for path, entry in self.files.items() if path == unit or path.startswith(f"{unit}/")}

    def with_units(self, units: Mapping[str, Mapping[str, Entry]]) -> "Manifest":
        """The manifest in which files and folders are as `units` says, and nothing else is changed."""
        gone = {path for unit in units for path in self.below(unit)}
        kept = {path: entry for path, entry in self.files.items() if path not in gone}
        return replace(self, files=kept | {path: entry for unit in units.values() for path, entry in unit.items()})

    def objects(self) -> set[str]:
        """Names of all objects that hold content of a file."""
        return {entry.object_name for entry in self.files.values()}

    def to_bytes(self) -> bytes:
        """As JSON."""
        files = {path: [entry.sha256, entry.size] for path, entry in sorted(self.files.items())}
        lease = None if self.lease is None else asdict(self.lease)
        return json.dumps({"format": FORMAT, "serial": self.serial, "lease": lease, "files": files}).encode()

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> "Manifest":
        """The manifest of `to_bytes`.

        Raises:
            DataError: when it is none.
        """
        try:
            found = json.loads(content)
            if found["format"] != FORMAT:
                raise ValueError(f"its format is {found['format']}, this version writes {FORMAT}")
            files = {path: Entry(sha256, size) for path, (sha256, size) in found["files"].items()}
            lease = None if found["lease"] is None else Lease(**found["lease"])
            return cls(files, lease, found["serial"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{where}/{MANIFEST} is no manifest of a store ({type(error).__name__}: {error}); name another store, "
                "or bring back the object's version before"
            ) from error
