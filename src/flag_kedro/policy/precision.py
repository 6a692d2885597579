"""Which number format computes faster on this machine: processors without bfloat16 instructions emulate it slowly."""

import logging
import time
from typing import Literal

import torch

logger = logging.getLogger(__name__)

ROWS, INPUTS, OUTPUTS = 512, 576, 1536
"""A batch of tokens through one map of SmolLM2-135M."""
REPEATS = 20
WORTH_IT = 1.2
"""Times as fast that bfloat16 must be: it has three digits, float32 seven."""


def faster_dtype(device: torch.device, threads: int) -> Literal["float32", "bfloat16"]:
    """Measure a matrix product in both formats and say which is faster; under half a second.

    Args:
        device: where the policy will compute.
        threads: of a CPU.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        float32, bfloat16 = (_fastest_product(dtype, device) for dtype in (torch.float32, torch.bfloat16))
    finally:
        torch.set_num_threads(before)
    ratio = float32 / bfloat16
    chosen: Literal["float32", "bfloat16"] = "bfloat16" if ratio >= WORTH_IT else "float32"
    logger.info(
        "policy.dtype is auto: bfloat16 multiplies matrices %.2f times as fast as float32 here, so it is %s",
        ratio,
        chosen,
    )
    return chosen


def _fastest_product(dtype: torch.dtype, device: torch.device) -> float:
    """Seconds of the fastest of some products."""
    tokens, weights = (torch.ones(shape, dtype=dtype, device=device) for shape in ((ROWS, INPUTS), (INPUTS, OUTPUTS)))
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        torch.mm(tokens, weights)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)
