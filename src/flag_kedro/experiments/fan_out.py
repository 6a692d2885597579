"""Several independent tasks: one after another in this process, or each a task of Ray.

What a task returns must not depend on where and when it is done: a task sees its arguments alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from flag_kedro.ppo.runtime import RuntimeConfig


@dataclass(frozen=True)
class Task:
    """A call to be done somewhere."""

    name: str
    """As errors call it, and unique: fold and seed, say."""
    work: "partial[Any]"
    """A function of the package with its arguments; those that several tasks have in common travel once."""


class Portable(ABC):
    """An argument with folders in it, which may lie elsewhere on another node, or not be there."""

    @abstractmethod
    def packed(self, carry: "Carry") -> "Packed":
        """The same for another node; of its folders what `carry` makes of them."""


class Packed(ABC):
    """A portable argument on its way."""

    @abstractmethod
    def unpacked(self) -> Any:
        """The argument as it is on the node that calls this."""


class Carry(ABC):
    """Makes folders of this node known to others."""

    @abstractmethod
    def whole(self, folder: Any) -> Any:
        """A folder with a manifest, which a node that lacks it receives; see `carried.CarriedFolder`."""

    @abstractmethod
    def seen(self, folder: Any) -> Any:
        """A folder for nodes that see it as this one does; see `carried.SeenFolder`."""


@contextmanager
def kept_engine(runtime: RuntimeConfig) -> Iterator[None]:
    """Start or join Ray once for all that is fanned out in the block, instead of each time.

    Raises:
        ParameterError: when there is no Ray, or no such cluster.
    """
    if runtime.engine == "local":
        yield
        return
    from flag_kedro.experiments.ray_session import ray_session

    with ray_session(runtime):
        yield


def fan_out(
    tasks: Sequence[Task], runtime: RuntimeConfig, on_wait: Callable[[], None] = lambda: None
) -> Generator[tuple[int, Any], None, None]:
    """Do all tasks, yielding the index and the result of each as it is done.

    Closed or failed, the generator lets the tasks that are under way go; whoever stops early must close it.

    Args:
        tasks: in the order in which they are begun.
        runtime: `engine` and what it needs.
        on_wait: called every second or so while Ray's tasks are under way; what it raises ends them.

    Raises:
        FlagError: of a task, with its name where Ray did it; the others are not waited for.
        WorkerError: when a task failed otherwise, or its workers died again and again.
        ParameterError: when there is no Ray, no such cluster, or a node computes other bits than this one.
    """
    if runtime.engine == "ray":
        from flag_kedro.experiments.ray_tasks import do_on_ray

        yield from do_on_ray(tasks, runtime, on_wait)
        return
    for index, task in enumerate(tasks):
        yield index, task.work()
