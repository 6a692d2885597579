"""A list of the files of a folder with their hashes, written last and checked first."""

import hashlib
import json
from pathlib import Path

from flag_kedro.errors import DataError

MANIFEST = "MANIFEST.json"
CARD = "README.md"
"""The model card; it is told and checked like the rest, but says nothing of what a policy does."""
OF_HUBS = (".gitattributes", ".git", ".cache")
"""What a model hub, or a download from it, adds to a folder."""


def hash_files(folder: Path) -> dict[str, str]:
    """sha256 of every file below `folder` by relative path in order; not of the manifest and what a hub puts there."""
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name != MANIFEST and path.relative_to(folder).parts[0] not in OF_HUBS
    )
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in files}


def hash_file(path: Path) -> str:
    """sha256 of a file, read piece by piece."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest(folder: Path) -> None:
    """Write `MANIFEST.json` for what is in `folder` now."""
    (folder / MANIFEST).write_text(json.dumps(hash_files(folder), indent=2) + "\n")


def verify_manifest(folder: Path) -> None:
    """Compare a folder with its manifest.

    Raises:
        DataError: naming the files that are absent, new or changed.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(f"{folder} is not whole: {MANIFEST} is missing; run the pipeline that makes it again")
    expected, actual = json.loads(path.read_text()), hash_files(folder)
    wrong = sorted(name for name in expected.keys() | actual.keys() if expected.get(name) != actual.get(name))
    if wrong:
        raise DataError(
            f"{folder} does not match its {MANIFEST} in {', '.join(wrong)}; it was changed or damaged, "
            "run the pipeline that makes it again"
        )


def folder_hash(folder: Path) -> str:
    """One hash for a folder: of its manifest, the model card left out, to which results are added later."""
    files = json.loads((folder / MANIFEST).read_text())
    told = json.dumps({name: value for name, value in sorted(files.items()) if name != CARD})
    return hashlib.sha256(told.encode()).hexdigest()
