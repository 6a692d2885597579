"""Processes that hold parts of the trunk answer as one that holds it whole, however unequal their work is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flag_kedro.errors import DataError
from flag_kedro.policy.actor_critic import build_actor_critic
from flag_kedro.policy.backbone import write_backbone
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.distributed.sharded_trunk import shard_trunk

READ = """
import json, sys
from pathlib import Path
import torch, torch.distributed as dist
from torch.distributed.tensor import DTensor
from flag_kedro.policy.actor_critic import build_actor_critic
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.packing import RowIds
from flag_kedro.policy.trainable import frozen_copy
from flag_kedro.ppo.distributed.sharded_trunk import shard_trunk

dist.init_process_group("gloo")
torch.set_num_threads(1)
rank, cpu = dist.get_rank(), torch.device("cpu")
model = build_actor_critic(Path(sys.argv[1]), PolicyConfig(), 0, cpu)
whole = frozen_copy(build_actor_critic(Path(sys.argv[1]), PolicyConfig(), 0, cpu))
rows = [RowIds(tuple(range(1, 20 + at)), ((3, 4),)) for at in range(9)]
expected = whole.trunk.compute(rows)
synchronizer = shard_trunk(model, cpu)
copy = frozen_copy(model)  # the initial policy, which reads through the same trunk
equal = []
for own in ([0, 9], [9, 0], [4, 2], [0, 0], [1, 1]):  # rows that each process reads before they meet again
    for policy in (model, copy):
        for at in range(own[rank]):
            (found,) = policy.trunk.compute([rows[at]])
            equal.append(torch.equal(found.prefix, expected[at].prefix))
            equal.append(torch.equal(found.suffixes[(3, 4)], expected[at].suffixes[(3, 4)]))
    synchronizer.finish()
parts = [w for layer in model.trunk.layers for w in layer.parameters()]
learning = [w for w in model.parameters() if w.requires_grad]
told = {
    "equal": equal,
    "held": sum(w.to_local().numel() for w in parts) / sum(w.numel() for w in parts),
    "whole": not any(isinstance(w, DTensor) for w in learning) and all(isinstance(w, DTensor) for w in parts),
}
(Path(sys.argv[2]) / f"{rank}.json").write_text(json.dumps(told))
dist.barrier()
dist.destroy_process_group()
"""


def test_every_process_reads_what_it_likes_through_layers_of_which_it_holds_half(tmp_path: Path):
    write_backbone(PolicyConfig(), ["Market: 1d +0.4%\n", "Decision:"], 0, tmp_path / "backbone")
    (tmp_path / "read.py").write_text(READ)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(tmp_path / "read.py"), str(tmp_path / "backbone"), str(tmp_path)]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert [len(word["equal"]) for word in told] == [2 * 2 * 14, 2 * 2 * 12]
    assert all(all(word["equal"]) and word["whole"] for word in told)
    assert sum(word["held"] for word in told) == pytest.approx(1.0)
    assert max(word["held"] for word in told) < 0.51


def test_nothing_below_the_split_is_nothing_to_share(tmp_path: Path):
    write_backbone(PolicyConfig(), ["Market: 1d +0.4%\n"], 0, tmp_path)
    cpu = torch.device("cpu")
    with pytest.raises(DataError, match=r"policy\.frozen_layers, which is 0"):
        shard_trunk(build_actor_critic(tmp_path, PolicyConfig(frozen_layers=0), 0, cpu), cpu)
