"""Parameters `runtime.*`: where tensors live and how many threads compute."""

from importlib.metadata import version
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class RuntimeConfig:
    """The machine as training and replay see it."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a CUDA device if there is one."""
    threads: int = Field(2, ge=1)
    """CPU threads of torch. Sums depend on it in the last bits, so it is fixed rather than all cores."""


def versions() -> dict[str, str]:
    """Versions of the packages on which the bits of what is learned depend."""
    return {name: version(name) for name in ("torch", "transformers", "peft", "numpy")}
