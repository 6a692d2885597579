"""Parameters `runtime.*`: where tensors live, how many threads compute, and what runs several trainings."""

from importlib.metadata import version
from typing import Any, Literal

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
    engine: Literal["local", "ray"] = "local"
    """What does the trainings of a walk-forward, of seeds, of a sweep or of a certificate, and reads prompts ahead:
    this process, one after another, or Ray, several at once, here or on many machines. Results are the same bits."""
    ray_address: str | None = None
    """The Ray cluster: `auto` for the one this machine belongs to, or HOST:PORT of its head; null starts Ray on this
    machine's cores and ends it with the node."""
    task_cpus: float | None = Field(default=None, gt=0)
    """CPUs that Ray sets aside for each training; null takes `threads`."""
    task_gpus: float = Field(default=0, ge=0)
    """GPUs, or the share of one, that Ray gives to each training; with 0 it sees none."""

    def __post_init__(self) -> None:
        if self.engine == "local" and self.ray_address is not None:
            raise ValueError(
                f"runtime.ray_address is {self.ray_address}, but runtime.engine is local, which asks no cluster; set "
                "runtime.engine=ray, or runtime.ray_address=null"
            )

    def computing(self) -> dict[str, Any]:
        """The parameters on which the bits of a result depend: where and how often a training runs changes none."""
        return {"device": self.device, "threads": self.threads}


def versions(rooms: tuple[str, ...] = ("ppo",)) -> dict[str, str]:
    """Versions of all code on which the bits of a result depend; this project's is a hash.

    Args:
        rooms: where the result is made: `ppo` what is learned, `experiments` what is scored besides.
    """
    packages = {name: version(name) for name in ("torch", "transformers", "peft", "numpy")}
    return packages | {"flag_kedro": code_hash(rooms)}
