"""Parameters `runtime.*`: where tensors live and how many threads compute."""

from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

PACKAGE = Path(__file__).resolve().parents[1]
ROOMS = ("data", "features", "env", "backtest", "policy", "ppo", "experiments")
"""Folders of the code that learns and scores; those above them only start it and show what came out."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class RuntimeConfig:
    """The machine as training and replay see it."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a CUDA device if there is one."""
    threads: int = Field(1, ge=1)
    """CPU threads of torch. Sums depend on it in the last bits, so it is fixed rather than all cores. One is enough for
    the tiny backbone, which gains nothing from more; larger ones want 2 or more."""


def versions() -> dict[str, str]:
    """Versions of all code on which the bits of what is learned and scored depend; this project's is a hash."""
    found = {name: version(name) for name in ("torch", "transformers", "peft", "numpy")}
    return found | {"flag_kedro": _code_hash()}


@cache
def _code_hash() -> str:
    code = sha256()
    for room in ROOMS:
        for file in sorted((PACKAGE / room).rglob("*.py")):
            code.update(file.relative_to(PACKAGE).as_posix().encode() + b"\0" + file.read_bytes())
    return code.hexdigest()[:16]
