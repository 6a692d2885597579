"""Tasks on Ray: each where there is room for it, again where a worker died, and what went wrong in words."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

from flag_kedro.errors import FlagError, WorkerError
from flag_kedro.experiments.carried import CarriedFolder, SeenFolder, pack_folder
from flag_kedro.experiments.fan_out import Carry, Packed, Portable, Task
from flag_kedro.experiments.ray_session import NUM_RETRIES, check_room, ray_session
from flag_kedro.experiments.same_bits import machine_facts, refuse_other_machine
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.ppo.runtime import RuntimeConfig

SECONDS_BETWEEN_LOOKS = 1.0
INLINE = (type(None), bool, int, float, str)
"""What is too small to be put into the object store."""


def do_on_ray(
    tasks: Sequence[Task], runtime: RuntimeConfig, on_wait: Callable[[], None]
) -> Generator[tuple[int, Any], None, None]:
    """Do all tasks as tasks of Ray, see `fan_out.fan_out`."""
    if not tasks:
        return
    facts = machine_facts(runtime)
    with _as_raised(), ray_session(runtime) as ray, _folders(ray, runtime) as carry:
        check_room(ray, runtime)
        pending = _submit(ray, tasks, runtime, facts, _Store(ray, carry))
        try:
            while pending:
                done, _ = ray.wait(list(pending), timeout=SECONDS_BETWEEN_LOOKS)
                for reference in done:
                    index = pending.pop(reference)
                    yield index, _result(ray, reference, tasks[index].name)
                on_wait()
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)


@contextmanager
def _as_raised() -> Iterator[None]:
    """Raise what a handler of signals raised while Ray's compiled code ran, which makes a SystemError of it."""
    try:
        yield
    except SystemError as error:
        if isinstance(error.__cause__, FlagError):
            raise error.__cause__ from None
        raise


def _submit(
    ray: Any, tasks: Sequence[Task], runtime: RuntimeConfig, facts: Mapping[str, str], store: "_Store"
) -> dict[Any, int]:
    """The index of each task by the reference to what it will return."""
    perform = ray.remote(
        num_cpus=runtime.task_cpus or runtime.threads, num_gpus=runtime.task_gpus, max_retries=NUM_RETRIES,
        retry_exceptions=False,
    )(_perform)  # fmt: skip
    pending = {}
    for index, task in enumerate(tasks):
        arguments = [store.put(argument) for argument in task.work.args]
        called = facts, runtime, task.work.func, task.work.keywords
        pending[perform.options(name=task.name).remote(*called, *arguments)] = index
    return pending


def _perform(
    facts: Mapping[str, str],
    runtime: RuntimeConfig,
    function: Callable[..., Any],
    keywords: Mapping[str, Any],
    *arguments: Any,
) -> Any:
    """Do one task on the worker."""
    import ray

    refuse_other_machine(facts, runtime, ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
    there = [argument.unpacked() if isinstance(argument, Packed) else argument for argument in arguments]
    return function(*there, **keywords)


class _Store:
    """Ray's object store, into which every argument goes once, however many tasks have it."""

    def __init__(self, ray: Any, carry: Carry) -> None:
        self._ray, self._carry = ray, carry
        self._put: dict[int, tuple[Any, Any]] = {}

    def put(self, argument: Any) -> Any:
        """The argument, or a reference to it."""
        if isinstance(argument, INLINE):
            return argument
        if id(argument) not in self._put:
            packed = argument.packed(self._carry) if isinstance(argument, Portable) else argument
            self._put[id(argument)] = argument, self._ray.put(packed)  # kept, so that no other gets its id
        return self._put[id(argument)][1]


class _Folders(Carry):
    """Folders of this machine, on which all tasks are (`travels` false), or of the driver's of a cluster."""

    def __init__(self, ray: Any, *, travels: bool) -> None:
        self._ray, self._travels = ray, travels
        self._whole: dict[Path, CarriedFolder] = {}
        self.marks: set[Path] = set()
        self._mark = f".seen-by-{token_hex(8)}"

    def whole(self, folder: Path) -> CarriedFolder:
        if folder not in self._whole:
            content = self._ray.put(pack_folder(folder)) if self._travels else None
            self._whole[folder] = CarriedFolder(folder.absolute(), folder_hash(folder), content)
        return self._whole[folder]

    def seen(self, folder: Path) -> SeenFolder:
        if not self._travels:
            return SeenFolder(folder.absolute(), None)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self._mark).touch()
        self.marks.add(folder / self._mark)
        return SeenFolder(folder.absolute(), self._mark)


@contextmanager
def _folders(ray: Any, runtime: RuntimeConfig) -> Iterator[_Folders]:
    """What makes folders known to nodes; its marks go with the block."""
    folders = _Folders(ray, travels=runtime.ray_address is not None)
    try:
        yield folders
    finally:
        for mark in folders.marks:
            mark.unlink(missing_ok=True)


def _result(ray: Any, reference: Any, name: str) -> Any:
    """What a task returned.

    Raises:
        FlagError: of the task, with its name before the message.
        WorkerError: when it failed otherwise.
    """
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, FlagError):
            cause.args = (f"{name}: {cause}", *cause.args[1:])
            raise cause from None
        raise WorkerError(f"{name} failed on a Ray worker; its traceback:\n{error}") from error
    except ray.exceptions.RayError as error:
        raise WorkerError(
            f"{name}: Ray gave up after {NUM_RETRIES} retries ({type(error).__name__}: {error}); where memory ran out, "
            "give each task more CPUs, so that fewer run side by side (runtime.task_cpus)"
        ) from error
