"""What processes that train together exchange: sums of tensors, and layers gathered from all of them.

Starts a process for each device through torchrun, each of which uses the project's own code: `collectives`,
`sharded_trunk`. The parent reads what process 0 has written.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from actor_critic_backbone import GEOMETRIES, Geometry, write_random_backbone
from actor_critic_meters import now
from torch.distributed.tensor import DTensor

from flag_kedro.data.atomic import atomic_write
from flag_kedro.policy.actor_critic import build_actor_critic
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.packing import RowIds
from flag_kedro.ppo.distributed.collectives import all_reduce_sum
from flag_kedro.ppo.distributed.sharded_trunk import shard_trunk

TOKENS = 128
ROWS = 8


def run_processes(
    geometry: Geometry, folder: Path, device: str, processes: int, megabytes: int, seconds: float
) -> dict[str, Any]:
    """Rates of a number of processes, or why there are none.

    Args:
        geometry: of a backbone whose trunk is shared.
        folder: the backbone's, written if it is not there; results go beside it.
        device: `cpu` (gloo) or `cuda` (NCCL).
        processes: one for each device.
        megabytes: of the tensor that is summed.
        seconds: after which they are ended.
    """
    if not folder.exists():
        folder.mkdir(parents=True)
        write_random_backbone(geometry, 0, folder)
    out = folder.parent / "collectives.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += [str(Path(__file__).resolve()), "--backbone", str(folder), "--out", str(out), "--device", device]
    command += ["--frozen", str(geometry.frozen_layers), "--megabytes", str(megabytes)]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        printed, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.communicate()
        return {"processes": processes, "not_measured": f"not done within {seconds:.0f} s"}
    if process.returncode != 0:
        return {"processes": processes, "failed": printed[-1000:]}
    result: dict[str, Any] = json.loads(out.read_text())
    return result


def work(arguments: argparse.Namespace) -> None:
    """What one process does."""
    cpu = arguments.device == "cpu"
    backend = "gloo" if cpu else "nccl"
    accelerator = Accelerator(cpu=cpu, kwargs_handlers=[InitProcessGroupKwargs(backend=backend)])
    device = accelerator.device
    report = {"backend": torch.distributed.get_backend(), "processes": torch.distributed.get_world_size()}
    report |= _sums(arguments.megabytes, device) | _shared_trunk(arguments.backbone, arguments.frozen, device)
    if accelerator.is_main_process:
        with atomic_write(arguments.out) as aside:
            aside.write_text(json.dumps(report))
    torch.distributed.destroy_process_group()


def _sums(megabytes: int, device: torch.device) -> dict[str, Any]:
    """Bytes a second that a sum over all processes takes in, and whether it is right."""
    world = torch.distributed.get_world_size()
    tensor = torch.ones(megabytes * (1 << 20) // 4, device=device)
    all_reduce_sum(tensor)
    right = bool((tensor == world).all())
    seconds = []
    for _ in range(5):
        started = now(device)
        all_reduce_sum(tensor)
        seconds.append(now(device) - started)
    return {"sum_is_right": right, "sum_bytes": tensor.nbytes, "sum_bytes_per_second": tensor.nbytes / min(seconds)}


def _shared_trunk(folder: Path, frozen: int, device: torch.device) -> dict[str, Any]:
    """Seconds to read rows through layers that are whole and through shared ones, and how far answers differ."""
    policy = PolicyConfig(frozen_layers=frozen, trunk_cache="never", batch_tokens=ROWS * TOKENS)
    rows = [RowIds(tuple(range(1 + at, 1 + at + TOKENS)), ((3, 4),)) for at in range(ROWS)]
    model = build_actor_critic(folder, policy, 0, torch.device("cpu"))
    model.to(device)
    expected, whole = _read(model.trunk, rows, device)
    model.to("cpu")
    synchronizer = shard_trunk(model, device)
    found, shared = _read(model.trunk, rows, device)
    synchronizer.finish()
    parts = [weight for layer in model.trunk.layers for weight in layer.parameters() if isinstance(weight, DTensor)]
    held, total = sum(part.to_local().numel() for part in parts), sum(part.numel() for part in parts)
    return {
        "held_of_trunk": held / total,
        "whole_seconds": whole,
        "shared_seconds": shared,
        "max_difference": max(float((one - other).abs().max()) for one, other in zip(found, expected, strict=True)),
    }


def _read(trunk: Any, rows: list[RowIds], device: torch.device) -> tuple[list[torch.Tensor], float]:
    """Outputs, and seconds of a second reading."""
    trunk.compute(rows)
    started = now(device)
    outputs = trunk.compute(rows)
    return [row.prefix for row in outputs], now(device) - started


def main() -> None:
    """Do one process's part, started by torchrun."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", type=Path, required=True, help="folder")
    parser.add_argument("--frozen", type=int, default=GEOMETRIES["tiny"].frozen_layers)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--out", type=Path, required=True)
    work(parser.parse_args())


if __name__ == "__main__":
    main()
