"""Training in several processes and machines: torchrun as a subprocess, followed as if it trained here.

The launcher knows neither what is trained nor what follows it: a folder holds the training, process 0 leaves metrics
and weights there, and every process that fails leaves its traceback.
"""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from flag_kedro.errors import (
    CheckpointError,
    DataError,
    DivergedError,
    ParameterError,
    ResultElsewhereError,
    TrainingError,
    WorkerError,
)
from flag_kedro.policy.interface import Policy
from flag_kedro.policy.trainable import load_trainable_state
from flag_kedro.ppo.checkpoint import Checkpoints
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.distributed.spec_folder import LOG, RESUMED, ROWS, WEIGHTS, write_spec
from flag_kedro.ppo.history import Metrics
from flag_kedro.ppo.training_spec import TrainingSpec

logger = logging.getLogger(__name__)

OUTPUT = "output.txt"
FAILURES = "failure-*.json"
GRACE = 20
"""Seconds in which processes that were asked to stop may write a last checkpoint."""
JOINING = 600
"""Seconds to wait for the other machines."""
SLEEP = 0.1
TAIL = 40
"""Lines of output shown where nothing else tells what happened."""
KINDS = {
    "data": DataError,
    "parameters": ParameterError,
    "diverged": DivergedError,
    "training": TrainingError,
    "checkpoint": CheckpointError,
}
"""Errors of a process that are raised here as what they were."""
ECHOES = ("peer", "stopped")
"""Kinds of failures whose cause lies with another process."""
DIED = re.compile(r"rank\s*:\s*(\d+) \(local_rank: \d+\)\s+exitcode\s*:\s*(-\d+)")
"""What torchrun says of a process that a signal ended."""


def train_in_processes(
    spec: TrainingSpec, model: Policy, checkpoints: Checkpoints | None
) -> Generator[Metrics, None, None]:
    """Train in `ppo.num_processes` processes on each of `ppo.num_machines` machines, and put the weights in `model`.

    Between machines gloo takes the network interface that this one's own name belongs to; the environment variable
    GLOO_SOCKET_IFNAME (NCCL_SOCKET_IFNAME on GPUs) names another.

    Args:
        spec: the training.
        model: the same actor-critic untrained.
        checkpoints: those of `spec.saved_at`, whose lock the caller holds; learns what was resumed.

    Yields:
        Metrics after each update, as `trainer.train` does, on the machine of process 0; none on the others.

    Raises:
        DataError: that of a process.
        ParameterError: that of a process, or when `ppo.rendezvous` cannot be reached.
        TrainingError: that of a process.
        WorkerError: when a process died of anything else; the message has its traceback.
        ResultElsewhereError: when the training ended well and process 0 is on another machine.
    """
    if spec.ppo.num_machines > 1:
        logger.info("meeting %d machines at %s", spec.ppo.num_machines, spec.ppo.rendezvous)
    with tempfile.TemporaryDirectory(prefix="flag_kedro-") as name:
        folder = Path(name)
        write_spec(spec, folder)
        lines = _Lines(folder / LOG)
        try:
            with _started(spec, folder) as process:
                yield from _follow(process, folder, lines)
        except BaseException:  # stopped from here: nobody else tells what process 0 made of it
            _log(lines)
            _warn_of_failure(folder)
            raise
        finally:
            if checkpoints is not None and (folder / RESUMED).exists():
                checkpoints.resumed_from = (folder / RESUMED).read_text()
        if process.returncode != 0:
            raise _failure(folder, process.returncode)
        if not (folder / WEIGHTS).exists():
            raise ResultElsewhereError(
                "the training is done; its policy, metrics and checkpoints are with the machine of process 0, which "
                "goes on alone"
            )
        load_trainable_state(model, load_file(folder / WEIGHTS))


def _command(ppo: PPOConfig, folder: Path) -> list[str]:
    if ppo.rendezvous is None:
        meeting = ["--standalone", "--local-addr", "127.0.0.1"]
    else:
        meeting = ["--nnodes", str(ppo.num_machines), "--rdzv-backend", "c10d", "--rdzv-id", "flag_kedro"]
        meeting += ["--rdzv-endpoint", ppo.rendezvous, "--local-addr", _own_address(ppo.rendezvous)]
        meeting += ["--rdzv-conf", f"join_timeout={JOINING},read_timeout={JOINING}"]
    processes = ["--nproc-per-node", str(ppo.num_processes), "--max-restarts", "0", "--shutdown-timeout", str(GRACE)]
    module = ["-m", "flag_kedro.ppo.distributed.worker", "--job", str(folder)]
    return [sys.executable, "-m", "flag_kedro.ppo.distributed.agent", *meeting, *processes, *module]


def _own_address(rendezvous: str) -> str:
    """The address at which the other machines reach this one: that from which it reaches the meeting place."""
    host, _, port = rendezvous.rpartition(":")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # connecting it sends nothing
            probe.connect((host, int(port)))
            address = str(probe.getsockname()[0])
    except OSError as error:
        raise ParameterError(
            f"ppo.rendezvous: {host} cannot be found from here ({error}); give its IP address"
        ) from error
    return host if address.startswith("127.") else address  # the meeting place itself, however it knows its own name


@contextmanager
def _started(spec: TrainingSpec, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run torchrun; however the block is left, none of its processes stays."""
    environment = os.environ | {"OMP_NUM_THREADS": str(spec.runtime.threads)}
    with (folder / OUTPUT).open("wb") as output:
        process = subprocess.Popen(
            _command(spec.ppo, folder), stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True, env=environment,
        )  # fmt: skip
    try:
        yield process
    except BaseException:
        process.terminate()  # torchrun passes it on; process 0 writes a last checkpoint
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE + 5)
        raise
    finally:
        _end(process, folder)


def _end(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    """Kill what still runs. Workers lead sessions of their own, so torchrun's group does not hold them."""
    if process.poll() is None:  # torchrun has not let go of its workers, so their numbers are still theirs
        for path in folder.glob("process-*.pid"):
            _kill_group(int(path.read_text()))
        _kill_group(process.pid)
    assert process.stdin is not None
    process.stdin.close()  # what torchrun left behind, if it was killed, ends by this
    process.wait()


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _follow(process: "subprocess.Popen[bytes]", folder: Path, lines: "_Lines") -> Iterator[Metrics]:
    """Rows of metrics as process 0 leaves them, until all processes have ended; its log lines are logged here."""
    rows, ended = _Lines(folder / ROWS), False
    while not ended:
        ended = process.poll() is not None
        _log(lines)
        yield from rows.new()
        if not ended:
            time.sleep(SLEEP)


def _log(lines: "_Lines") -> None:
    for line in lines.new():
        logging.getLogger(line["name"]).log(line["level"], "%s", line["message"])


def _warn_of_failure(folder: Path) -> None:
    """Say what process 0 could not do before it ended, such as write a last checkpoint."""
    path = folder / "failure-0.json"
    failure = json.loads(path.read_text()) if path.exists() else {"kind": "stopped"}
    if failure["kind"] not in ECHOES:
        logger.warning("process 0 could not end as it should; its last updates may be lost:\n%s", failure["traceback"])


class _Lines:
    """Whole lines of JSON of a growing file, each once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def new(self) -> Iterator[Any]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        yield from map(json.loads, whole.splitlines())


def _failure(folder: Path, code: int) -> Exception:
    """What to raise after the processes ended with `code`: the first error that is not the echo of another."""
    failures = {path.stem.removeprefix("failure-"): json.loads(path.read_text()) for path in folder.glob(FAILURES)}
    output = (folder / OUTPUT).read_text(errors="replace")
    causes = {rank: failure for rank, failure in failures.items() if failure["kind"] not in ECHOES}
    if causes:
        rank, failure = min(causes.items(), key=lambda item: item[1]["time"])
        if failure["kind"] in KINDS:
            return KINDS[failure["kind"]](failure["message"])
        return WorkerError(f"training process {rank} died:\n{failure['traceback']}")
    by_signal = [(int(rank), -int(number)) for rank, number in DIED.findall(output) if rank not in failures]
    killed = [(rank, number) for rank, number in by_signal if number != signal.SIGTERM]  # that is torchrun tidying up
    if killed:
        first, number = killed[-1]  # torchrun's summary ends with the first to die
        return WorkerError(
            f"training process {first} was killed by {signal.Signals(number).name} and could leave no traceback; if "
            "nobody killed it, the machine may have run out of memory"
        )
    if failures:
        earliest = min(failures.values(), key=lambda failure: failure["time"])
        if earliest["kind"] == "stopped":
            return WorkerError("the training processes were asked to stop from outside (SIGTERM)")
        return WorkerError(
            "a training process of another machine is gone, or does not answer; the reason is told there"
        )
    tail = "\n".join(output.splitlines()[-TAIL:])
    return WorkerError(f"the training processes ended with exit code {code}; their last words:\n{tail}")
