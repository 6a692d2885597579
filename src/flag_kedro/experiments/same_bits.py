"""Whether two machines compute the same bits."""

from collections.abc import Mapping
from typing import Any

import torch

from flag_kedro.errors import ParameterError
from flag_kedro.policy.trunk import processor
from flag_kedro.ppo.device import prepare_torch
from flag_kedro.ppo.runtime import RuntimeConfig, versions

WAYS_OUT = {
    "device": "give every task its GPU with runtime.task_gpus=1 (or a share of it), or set runtime.device=cpu",
    "processor": "use machines of one kind, and start the command on one of them",
    "instructions": "use machines of one kind, and start the command on one of them",
}
SAME_CODE = (
    "install the same flag_kedro on every node, with pip install -c constraints.txt, and leave its code alone while a "
    "run is under way"
)


def machine_facts(runtime: RuntimeConfig) -> dict[str, str]:
    """All but parameters and data on which the bits depend that this process computes; prepares torch.

    Raises:
        ParameterError: when CUDA is asked for and there is none.
    """
    device = prepare_torch(runtime)
    if device.type == "cuda":
        computing = {"device": torch.cuda.get_device_name(device)}
    else:
        instructions = torch.backends.cpu.get_cpu_capability()
        computing = {"device": "cpu", "processor": processor(), "instructions": instructions}
    return versions(("experiments", "pipelines")) | computing


def refuse_other_machine(expected: Mapping[str, str], runtime: RuntimeConfig, node: str) -> None:
    """Refuse to compute here what would be other bits where the command was started.

    Args:
        expected: `machine_facts` of that process.
        runtime: device and threads.
        node: this one's address.

    Raises:
        ParameterError: naming what differs, and the way out.
    """
    found: dict[str, Any] = machine_facts(runtime)
    wrong = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    if not wrong:
        return
    differing = "; ".join(
        f"{name} is {found.get(name, 'not told')} there and {expected.get(name, 'not told')} here" for name in wrong
    )
    ways = " and ".join(dict.fromkeys(WAYS_OUT.get(name, SAME_CODE) for name in wrong))
    raise ParameterError(
        f"node {node} would compute other bits than the machine where the command was started: {differing}; {ways}"
    )
