"""A frozen trunk of which each process holds a part, for backbones that are too large for one device.

The weights of a layer are gathered from all processes just before it computes, and dropped after it (FSDP,
arXiv:2304.11277, as torch's `fully_shard`). What learns, and the layers above the split, stay whole in every process.
"""

import torch
import torch.distributed
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from flag_kedro.errors import ParameterError
from flag_kedro.policy.actor_critic import ActorCritic
from flag_kedro.policy.trunk import Trunk
from flag_kedro.ppo.distributed.collectives import all_reduce_sum


class PassSynchronizer:
    """Keeps processes in step that gather the same layers for different prompts.

    Gathering takes all processes, but each has prompts of its own, more or fewer. So before each pass through the trunk
    all agree that one is due, and those with nothing left to read take part with a token that nobody asked for.
    """

    def __init__(self, trunk: Trunk) -> None:
        self._trunk = trunk
        self._idle = False
        trunk.layers[0].register_forward_pre_hook(self._before_pass, prepend=True)  # before the one that gathers

    @torch.no_grad()
    def finish(self) -> None:
        """Take part in the passes of others until nobody has any left; all processes call this at the same point."""
        token = torch.zeros(1, 1, dtype=torch.long, device=self._trunk.embed.weight.device)
        self._idle = True
        while self._due(False):
            self._trunk.prefill(self._trunk.embed(token))
        self._idle = False

    def _before_pass(self, layer: nn.Module, arguments: object) -> None:
        if not self._idle:
            self._due(True)

    def _due(self, here: bool) -> bool:
        """Whether any process has a pass to do, this one or another."""
        due = torch.tensor([int(here)], device=self._trunk.embed.weight.device)
        all_reduce_sum(due)
        return bool(due)


def shard_trunk(model: ActorCritic, device: torch.device) -> PassSynchronizer:
    """Leave each process its part of the trunk's layers, and put everything on `device`.

    Args:
        model: the same in every process, on the CPU, so that no device ever has to hold it whole.
        device: of this process.

    Raises:
        ParameterError: when there is no layer below the split.
    """
    if not model.trunk.layers:
        raise ParameterError("ppo.fsdp shards the layers below policy.frozen_layers, which is 0; set it above 0")
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for layer in model.trunk.layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    model.to(device)
    return PassSynchronizer(model.trunk)
