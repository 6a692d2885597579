"""Time, memory, tokens, floating-point operations and gradients of a model."""

import ctypes
import gc
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
ATTENTIONS = ["flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention"]
"""torch's kernels behind scaled_dot_product_attention."""
BACKWARD_PRODUCTS = 2.5
"""Matrix products of attention's backward pass, its recomputed scores included, by those of the forward pass."""
LONG_ENOUGH = 0.1
"""Seconds of a matrix product beside which starting it does not count."""

Gradients = dict[str, Tensor]


def now(device: torch.device) -> float:
    """Seconds on a clock, once everything asked of `device` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def forget_peak(device: torch.device) -> int | None:
    """Bytes in use from which a new peak is counted; None where the system does not tell."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    if sys.platform != "linux":
        return None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)  # else memory that others freed would count as in use already
    try:
        CLEAR_REFS.write_text("5")
    except OSError:  # kernels and containers may withhold it
        return None
    return _high_water()


def peak_above(start: int | None, device: torch.device) -> float | None:
    """Peak since `forget_peak` gave `start`, above it, in MB."""
    if start is None:
        return None
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _high_water()
    return (peak - start) / 1e6


def _high_water() -> int:
    """Largest resident size of this process since it was last reset, in bytes."""
    [line] = [line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def matrix_product_rate(dtype: torch.dtype, device: torch.device, repeats: int = 3) -> float:
    """Floating-point operations a second of large square matrix products, the best of some.

    Matrices grow until a product takes a tenth of a second, so that a processor without instructions for `dtype`, which
    needs minutes for the largest, is measured in seconds.
    """
    largest = 8192 if device.type == "cuda" else 2048
    size = 256
    while (seconds := _matrix_product_seconds(size, dtype, device, repeats)) < LONG_ENOUGH and size < largest:
        size *= 2
    return 2 * size**3 / seconds


def _matrix_product_seconds(size: int, dtype: torch.dtype, device: torch.device, repeats: int) -> float:
    """Seconds of the fastest of some products of two square matrices."""
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    torch.mm(one, other)
    seconds = []
    for _ in range(repeats):
        started = now(device)
        torch.mm(one, other)
        seconds.append(now(device) - started)
    return min(seconds)


def count_flops(work: Callable[[], object]) -> int:
    """Floating-point operations of matrix products and attention in `work`, causal attention counted half.

    Attention with an explicit mask is counted whole.
    """
    mapping = {}
    for name in ATTENTIONS:
        for suffix, factor in (("", 1.0), ("_backward", BACKWARD_PRODUCTS)):
            packet = getattr(torch.ops.aten, f"_scaled_dot_product_{name}{suffix}")
            mapping[packet] = _attention_flops(packet.default, factor)
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        work()
    return int(counter.get_total_flops())


def _attention_flops(operator: Any, factor: float) -> Callable[..., int]:
    """How FlopCounterMode is to count `operator`, from the shapes of its arguments."""
    names = [argument.name for argument in operator._schema.arguments]

    def flops(*shapes: Any, out_shape: Any = None, **others: Any) -> int:
        given = dict(zip(names, shapes, strict=False)) | others
        *batch, queries, width = given["query"]
        keys, out_width = given["key"][-2], given["value"][-1]
        whole = 2 * torch.Size(batch).numel() * queries * keys * (width + out_width)
        return int(factor * whole / (2 if given.get("is_causal", False) else 1))

    return flops


@dataclass
class Tokens:
    """Tokens that went through a layer."""

    computed: int = 0
    """Padding included."""
    real: int = 0


@dataclass
class TokenCounts:
    """Tokens through trunk and top."""

    trunk: Tokens = field(default_factory=Tokens)
    top: Tokens = field(default_factory=Tokens)


@contextmanager
def count_tokens(backbone: nn.Module, frozen_layers: int) -> Iterator[TokenCounts]:
    """Count what enters the first layer of trunk and top while this is open; both pad with zeros.

    A top of one layer is asked once more for each prompt's last token alone; that is not counted.
    """
    counts = TokenCounts()

    def count_into(tokens: Tokens) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            hidden = inputs[0]
            if hidden.shape[1] > 1:
                tokens.computed += hidden.shape[0] * hidden.shape[1]
                tokens.real += int((hidden != 0).any(dim=-1).sum())

        return hook

    keys = {name: module for name, module in backbone.named_modules() if name.endswith(".self_attn.k_proj")}
    first = {layer: next(m for name, m in keys.items() if f"layers.{layer}." in name) for layer in (0, frozen_layers)}
    hooks = [first[frozen_layers].register_forward_pre_hook(count_into(counts.top))]
    if frozen_layers:
        hooks.append(first[0].register_forward_pre_hook(count_into(counts.trunk)))
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()


def take_gradients(model: nn.Module) -> Gradients:
    """The gradients of all weights that learn, by name; the model keeps none."""
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
    model.zero_grad(set_to_none=True)
    missing = [name for name, gradient in gradients.items() if gradient is None]
    assert not missing, f"no gradient reached {missing[0]}"
    return {name: gradient.float().cpu() for name, gradient in gradients.items() if gradient is not None}


def relative_difference(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """Norm of the difference over all weights by the norm of what is expected."""
    assert actual.keys() == expected.keys()
    squared = sum(float((actual[name].double() - tensor.double()).square().sum()) for name, tensor in expected.items())
    norm = sum(float(tensor.double().square().sum()) for tensor in expected.values())
    return float((squared / norm) ** 0.5)
