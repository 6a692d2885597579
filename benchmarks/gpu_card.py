"""What a device is, and how fast it multiplies matrices: the denominator of a model's utilisation."""

from pathlib import Path
from typing import Any

import torch
from actor_critic_meters import matrix_product_rate

DRIVER = Path("/proc/driver/nvidia/version")
PEAKS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "RTX 4090": 165e12,
    "A10G": 70e12,
    "T4": 65e12,
}
"""Dense bfloat16 operations a second by data sheet (float16 of T4), by what is in a card's name, the longest first."""


def data_sheet_peak(name: str) -> float | None:
    """Operations a second that the maker states for a card; None where it is not listed here."""
    return next((peak for part, peak in PEAKS.items() if part in name), None)


def describe_card(device: torch.device) -> dict[str, Any]:
    """Name, memory, versions and measured rates of matrix products."""
    rates = {
        f"{dtype}_flops_per_second": matrix_product_rate(getattr(torch, dtype), device)
        for dtype in ("bfloat16", "float32")
    }
    facts: dict[str, Any] = {"torch": torch.__version__, "threads": torch.get_num_threads(), **rates}
    if device.type == "cpu":
        return {"name": "cpu", "instructions": torch.backends.cpu.get_cpu_capability(), **facts}
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "devices": torch.cuda.device_count(),
        "capability": list(torch.cuda.get_device_capability(device)),
        "memory_bytes": properties.total_memory,
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "nccl": ".".join(map(str, torch.cuda.nccl.version())),  # type: ignore[no-untyped-call]
        "peak_flops_per_second": data_sheet_peak(properties.name),
        **facts,
    }


def _driver() -> str | None:
    """The first line that the NVIDIA driver tells of itself; None where it does not."""
    return DRIVER.read_text().splitlines()[0] if DRIVER.is_file() else None
