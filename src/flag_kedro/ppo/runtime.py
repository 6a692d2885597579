"""Parameters `runtime.*`: where tensors live and how many threads compute."""

from importlib.metadata import version
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from flag_kedro.ppo.code_hash import code_hash


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class RuntimeConfig:
    """The machine as training and replay see it."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a CUDA device if there is one."""
    threads: int = Field(default=1, ge=1)
    """CPU threads of torch. Sums depend on it in the last bits, so it is fixed rather than all cores. One is enough for
    the tiny backbone, which gains nothing from more; larger ones want 2 or more."""


def versions(rooms: tuple[str, ...] = ("ppo",)) -> dict[str, str]:
    """Versions of all code on which the bits of a result depend; this project's is a hash.

    Args:
        rooms: where the result is made: `ppo` what is learned, `experiments` what is scored besides.
    """
    packages = {name: version(name) for name in ("torch", "transformers", "peft", "numpy")}
    return packages | {"flag_kedro": code_hash(rooms)}
