"""One of several training processes, started by `processes` as `python -m` of this module with `--job FOLDER`."""

import argparse
import json
import logging
import os
import signal
import sys
import time
import traceback
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from safetensors.torch import save_file
from torch.distributed import DistError

from flag_kedro.data.atomic import atomic_write
from flag_kedro.errors import CheckpointError, DataError, DivergedError, ParameterError, PeerLostError, TrainingError
from flag_kedro.policy.trainable import trainable_state
from flag_kedro.ppo.checkpoint import Checkpoints
from flag_kedro.ppo.device import prepare_torch
from flag_kedro.ppo.distributed.parent import end_with_parent
from flag_kedro.ppo.distributed.sharded_trunk import shard_trunk
from flag_kedro.ppo.distributed.sharding import Shard
from flag_kedro.ppo.distributed.spec_folder import LOG, RESUMED, ROWS, WEIGHTS, fingerprint, read_spec
from flag_kedro.ppo.trainer import train
from flag_kedro.ppo.training import build_model
from flag_kedro.ppo.training_spec import TrainingSpec

PATIENCE = timedelta(minutes=10)
"""Time after which a process that does not answer counts as gone, where its machine does not say so."""


class Stopped(BaseException):
    """The launcher asked this process to stop."""


def main() -> None:
    """Do this process's part of the training; an error is left in the training's folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, required=True)
    folder: Path = parser.parse_args().job
    end_with_parent()
    signal.signal(signal.SIGTERM, _stop)
    rank = int(os.environ.get("RANK", "0"))
    (folder / f"process-{rank}.pid").write_text(str(os.getpid()))
    try:
        work(folder, rank)
    except BaseException as error:
        write_failure(folder / f"failure-{rank}.json", error)
        raise


def work(folder: Path, rank: int) -> None:
    """Train; process 0 leaves log lines and metrics as they come, and at last the weights.

    Raises:
        ParameterError: when there are more or fewer processes than the training asks for, machines have other
            trainings, or CUDA is asked for and there is none.
        TrainingError: when learning cannot go on, see `trainer.train`.
        PeerLostError: when another process is gone.
    """
    spec, world = read_spec(folder)
    if rank == 0:
        logging.basicConfig(level=logging.INFO, handlers=[_LinesOfLog(folder / LOG)])
    device = prepare_torch(spec.runtime)
    group = InitProcessGroupKwargs(backend="gloo" if device.type == "cpu" else "nccl", timeout=PATIENCE)
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="no", kwargs_handlers=[group])
    torch.set_num_threads(spec.runtime.threads)
    shard = Shard.of(accelerator)
    if shard.world != world:
        raise ParameterError(
            f"the training is to run in {world} processes (ppo.num_processes x ppo.num_machines), but "
            f"{shard.world} were started; start it with kedro run, once on each machine"
        )
    if spec.ppo.num_machines > 1 and len(set(shard.all_gather(fingerprint(spec), accelerator.device))) > 1:
        raise ParameterError(
            "the machines are not at the same training; give the same command, parameters, data, backbone and versions "
            "of packages on each of them"
        )
    _train(spec, folder, shard, accelerator)
    torch.distributed.destroy_process_group()


def _train(spec: TrainingSpec, folder: Path, shard: Shard, accelerator: Accelerator) -> None:
    device = accelerator.device
    model = build_model(spec, device, built_on=torch.device("cpu") if spec.ppo.fsdp else None)
    synchronizer = shard_trunk(model, device) if spec.ppo.fsdp else None
    main, checkpoints = shard.rank == 0, None
    if main and spec.saved_at is not None:
        checkpoints = Checkpoints(Path(spec.saved_at.root), spec.saved_at.key, spec.saved_at.label, locked=True)
    updates = train(
        model, spec.window, spec.validation, spec.env, spec.ppo, spec.seed, accelerator, checkpoints, synchronizer,
        portfolio=spec.portfolio, floors=spec.floors,
    )  # fmt: skip
    with closing(updates):
        for row in updates:
            if main:
                _append(folder / ROWS, row)
            if checkpoints is not None and checkpoints.resumed_from is not None:
                (folder / RESUMED).write_text(checkpoints.resumed_from)
    if main:
        weights = {name: weight.cpu().contiguous() for name, weight in trainable_state(model).items()}
        with atomic_write(folder / WEIGHTS) as temporary:
            save_file(weights, temporary)


def _stop(number: int, frame: FrameType | None) -> None:
    """Stop once, and finish what stopping takes; where something else went wrong, this one is saving already."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.exception() is None:
        raise Stopped


def _append(path: Path, content: dict[str, Any]) -> None:
    """Add one line of JSON."""
    with path.open("a") as file:
        file.write(json.dumps(content) + "\n")


def write_failure(path: Path, error: BaseException) -> None:
    """Write what went wrong, so that the launcher can tell."""
    kinds = {
        Stopped: "stopped",
        PeerLostError: "peer",
        DataError: "data",
        ParameterError: "parameters",
        DivergedError: "diverged",
        TrainingError: "training",
        CheckpointError: "checkpoint",
    }
    kind = next((name for error_class, name in kinds.items() if isinstance(error, error_class)), "other")
    if kind == "other" and (isinstance(error, DistError) or (type(error) is RuntimeError and "gloo" in str(error))):
        kind = "peer"  # met while layers were gathered, which no code of ours asks for
    failure = {"time": time.time(), "kind": kind, "message": str(error), "traceback": traceback.format_exc()}
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(failure))


class _LinesOfLog(logging.Handler):
    """Leaves log records as lines of JSON, which the launcher logs as its own."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        _append(self._path, {"name": record.name, "level": record.levelno, "message": record.getMessage()})


if __name__ == "__main__":
    main()
