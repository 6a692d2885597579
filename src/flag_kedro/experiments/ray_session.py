"""Ray for the length of a block: started on this machine, or a cluster that runs already."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flag_kedro.errors import ParameterError
from flag_kedro.ppo.runtime import RuntimeConfig

logger = logging.getLogger(__name__)
NUM_RETRIES = 5
"""Times that a task begins anew after its worker or node died, or memory ran out; one that raises is not done again."""
OBJECT_STORE_BYTES = 256 << 20
"""Of a Ray that is started here: market states and rows; what does not fit goes to disk."""
SECONDS_TO_ANSWER = 10.0
"""For the head of a cluster."""


@contextmanager
def ray_session(runtime: RuntimeConfig) -> Iterator[Any]:
    """Yield the module `ray`, connected; what was started or joined here is left behind at the end of the block.

    Raises:
        ParameterError: when Ray is not installed, or the cluster cannot be joined.
    """
    ray = _import_ray()
    if ray.is_initialized():
        yield ray
        return
    handlers = _handlers()
    try:
        _join(ray, runtime)
        _restore(handlers)  # Ray takes SIGTERM over
        yield ray
    finally:
        ray.shutdown()
        _restore(handlers)


def check_room(ray: Any, runtime: RuntimeConfig) -> None:
    """Refuse tasks that no node has room for, which would wait for ever.

    Raises:
        ParameterError: naming what is asked for and what there is.
    """
    needed = {"CPU": runtime.task_cpus or float(runtime.threads), "GPU": runtime.task_gpus}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(node.get(kind, 0.0) >= amount for kind, amount in needed.items()) for node in nodes):
        return
    there = "; ".join(f"{node.get('CPU', 0.0):g} CPUs and {node.get('GPU', 0.0):g} GPUs" for node in nodes)
    raise ParameterError(
        f"each task asks for {needed['CPU']:g} CPUs (runtime.task_cpus, or else runtime.threads) and {needed['GPU']:g} "
        f"GPUs (runtime.task_gpus), which no node of the Ray cluster has: {there}; ask for less, or add a node"
    )


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # both are read when it is imported
    os.environ.setdefault("RAY_task_oom_retries", str(NUM_RETRIES))  # else for ever
    try:
        import ray
    except ImportError as error:
        raise ParameterError(
            "runtime.engine is ray, but the package ray is missing; pip install 'flag_kedro[ray]', or set "
            "runtime.engine=local"
        ) from error
    return ray


def _join(ray: Any, runtime: RuntimeConfig) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    if runtime.ray_address is None:
        logger.info("starting Ray on %d cores of this machine", _cores())
        room = {"num_cpus": _cores(), "object_store_memory": OBJECT_STORE_BYTES}
        ray.init("local", include_dashboard=False, **room, **quiet)  # whatever RAY_ADDRESS says
        return
    try:
        _ask(runtime.ray_address)
        ray.init(address=runtime.ray_address, **quiet)
    except (OSError, ImportError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ParameterError(
            f"runtime.ray_address is {runtime.ray_address}, but no Ray cluster can be joined there ({error}); start "
            "one with ray start --head, on other machines ray start --address=HOST:6379, or set "
            "runtime.ray_address=null to use this machine alone"
        ) from error


def _ask(address: str) -> None:
    """Raise an OSError where nobody listens at HOST:PORT, which Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS_TO_ANSWER).close()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _handlers() -> dict[signal.Signals, Any]:
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
