"""What a GPU makes of this project, in one call of ten minutes at most: card, updates, attention, collectives.

Every section has its share of the time, prints a line for each measurement and adds it to one JSON file at once, so
that a cut leaves what was done. What cannot be measured is told with its reason.

    python benchmarks/gpu.py --out gpu.json
    python benchmarks/gpu.py --tiny --device cpu --out tiny.json
    python -m pytest -m gpu                 # the tests that need a GPU are a command of their own
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from actor_critic_backbone import GEOMETRIES, Geometry
from gpu_attention import draw_documents, measure_attention
from gpu_card import describe_card
from gpu_collectives import run_processes
from gpu_update import Load, measure_update

from flag_kedro.data.atomic import atomic_write

SHARES = {"card": 0.05, "updates": 0.6, "attention": 0.2, "collectives": 0.15}
"""Of the time, by section; what one leaves is the next one's."""
TINY = Geometry(64, 128, 4, 4, 2, 1024, 2)
TINY_LOAD = Load(
    (24, 40), num_envs=2, num_steps=4, minibatch_size=16, update_epochs=1, batch_tokens=512, dtype="float32"
)


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    geometries: Mapping[str, Geometry]
    load: Load
    documents: int
    prefix_tokens: tuple[int, int]
    suffix_tokens: tuple[int, int]
    repeats: int
    megabytes: int


class Report:
    """One JSON file that is whole after each measurement."""

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path, self.content = path, facts

    def add(self, section: str, row: dict[str, Any]) -> None:
        """Keep a measurement and print its line."""
        self.content.setdefault(section, []).append(row)
        with atomic_write(self.path) as aside:
            aside.write_text(json.dumps(self.content, indent=1) + "\n")
        print(f"{section}: " + ", ".join(f"{name} {_shown(value)}" for name, value in row.items()), flush=True)


def measure(plan: Plan, device: torch.device, seconds: float, report: Report, scratch: Path) -> None:
    """All sections within a number of seconds."""
    begun, used = time.perf_counter(), 0.0
    deadlines = {}
    for section, share in SHARES.items():
        used += share * seconds
        deadlines[section] = begun + used
    report.add("card", describe_card(device))
    folders = {name: scratch / name for name in plan.geometries}
    _updates(plan, device, deadlines["updates"], report, folders)
    for name, geometry in plan.geometries.items():
        documents = draw_documents(plan.documents, plan.prefix_tokens, plan.suffix_tokens, 0)
        for row in measure_attention(geometry, documents, device, plan.repeats, deadlines["attention"]):
            report.add("attention", {"geometry": name} | row)
    name, geometry = next(iter(plan.geometries.items()))
    for processes in sorted({1, torch.cuda.device_count()}) if device.type == "cuda" else [2]:
        left = max(10.0, deadlines["collectives"] - time.perf_counter())
        row = run_processes(geometry, folders[name], device.type, processes, plan.megabytes, left)
        report.add("collectives", {"geometry": name} | row)


def _updates(plan: Plan, device: torch.device, deadline: float, report: Report, folders: Mapping[str, Path]) -> None:
    """Updates of each geometry without and with activation checkpointing."""
    [card] = report.content["card"]
    todo = [(name, checkpointing) for name in plan.geometries for checkpointing in (False, True)]
    for done, (name, checkpointing) in enumerate(todo):
        row: dict[str, Any] = {"geometry": name, "checkpointing": checkpointing, "dtype": plan.load.dtype}
        left = deadline - time.perf_counter()
        if left <= 0:
            report.add("updates", row | {"not_measured": "the time of this section was over"})
            continue
        budget = left / (len(todo) - done)
        try:
            row |= measure_update(plan.geometries[name], folders[name], plan.load, device, checkpointing, budget)
        except torch.cuda.OutOfMemoryError as error:
            report.add("updates", row | {"failed": f"out of memory: {error}"[:300]})
            continue
        rate, peak = card[f"{plan.load.dtype}_flops_per_second"], card.get("peak_flops_per_second")
        row["model_flop_utilisation"] = row["model_flops_per_second"] / rate
        row["of_data_sheet_peak"] = row["model_flops_per_second"] / peak if peak else None
        report.add("updates", row)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def make_plan(arguments: argparse.Namespace) -> Plan:
    """What the command line asks for."""
    if arguments.tiny:
        return Plan({"tiny-4": TINY}, TINY_LOAD, 4, (20, 60), (3, 8), 2, 1)
    geometries = {name: GEOMETRIES[name] for name in arguments.geometries}
    return Plan(geometries, Load(), 64, (300, 420), (8, 24), 20, 1024)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".")) / "gpu.json", help="JSON file")
    parser.add_argument("--seconds", type=float, default=540.0, help="for all sections together")
    parser.add_argument("--geometries", nargs="+", choices=GEOMETRIES, default=["smollm2-135m", "smollm2-1.7b"])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a model of four small layers, to try the script")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device; try the script with --device cpu --tiny")
    torch.set_num_threads(arguments.threads)
    plan = make_plan(arguments)
    facts = {"seconds": arguments.seconds, "plan": asdict(plan), "tests": "python -m pytest -m gpu"}
    with tempfile.TemporaryDirectory() as scratch:
        report = Report(arguments.out, facts)
        measure(plan, torch.device(arguments.device), arguments.seconds, report, Path(scratch))
    print(f"{arguments.out} has all figures; the tests that need a GPU: {facts['tests']}")


if __name__ == "__main__":
    main()
