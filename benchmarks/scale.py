"""Tables of what it takes to train at scale: hours, bytes and dollars by piece, memory by size, bytes between machines.

Every assumption is an option. With `--gpu` the utilisation is the one that gpu.py measured on a card.

    python benchmarks/scale.py --measured docs/scale.json
    python benchmarks/scale.py --measured docs/scale.json --gpu gpu.json --gpu-dollars 3.2
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from actor_critic_backbone import GEOMETRIES, Geometry
from scale_plan import GB, Assumptions, exchanges, known_geometries, memory, pieces

CARDS = 24, 80, 141
LINKS = {"NVLink, 450 GB/s": 450e9, "InfiniBand, 50 GB/s": 50e9, "Ethernet, 3 GB/s": 3e9}
"""Bytes a second in one direction, assumed of a GPU's links."""
PROCESSES = 8


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, all but the first column to the right."""
    rule = "|---|" + "---:|" * (len(head) - 1)
    return "\n".join([f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(row)} |" for row in rows)])


def bill(geometry: Geometry, given: Assumptions) -> str:
    """Hours, bytes and dollars by piece."""
    rows, parts = [], pieces(geometry, given)
    for part in parts:
        hours = between(part.gpu_hours(given)) if part.flops else f"{part.core_hours:.1f} of a core"
        stored = amount(part.stored_bytes) if part.stored_bytes else ""
        rows.append(
            [
                part.name,
                f"{part.prompts / 1e6:,.1f}",
                f"{part.flops / 1e18:,.1f}",
                hours,
                stored,
                between(part.dollars(given)),
            ]
        )
    all_hours, all_dollars = (
        between(added(ranges))
        for ranges in ((part.gpu_hours(given) for part in parts), (part.dollars(given) for part in parts))
    )
    rows.append(["all", "", f"{sum(part.flops for part in parts) / 1e18:,.1f}", all_hours, "", all_dollars])
    return table(["piece", "million prompts", "EFLOP", "GPU hours", "stored", "dollars"], rows)


def added(ranges: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The sums of both ends."""
    ends = list(ranges)
    return sum(best for best, _ in ends), sum(worst for _, worst in ends)


def by_size(measured: Mapping[str, Any], given: Assumptions) -> str:
    """The whole bill for each size, without and with activation checkpointing."""
    rows = []
    for name, geometry in known_geometries(measured).items():
        row = [name, f"{geometry.frozen_layers} + {geometry.num_hidden_layers - geometry.frozen_layers}"]
        parts = pieces(geometry, given)
        for costs in (parts, pieces(geometry, given, checkpointing=True)):
            row.append(between(added(part.gpu_hours(given) for part in costs)))
        row.append(amount(sum(part.stored_bytes for part in parts)))
        row.append(between(added(part.dollars(given) for part in parts)))
        rows.append(row)
    return table(["backbone", "layers: frozen + learning", "GPU hours", "with checkpointing", "rows", "dollars"], rows)


def memory_by_size(measured: Mapping[str, Any], given: Assumptions, processes: int) -> str:
    """GB on each GPU, and which cards that fits."""
    rows = []
    for name, geometry in known_geometries(measured).items():
        need = memory(geometry, measured["geometries"][name], given, processes)
        plain, again = (need.total(checkpointing=checkpointing) for checkpointing in (False, True))
        fits = [
            f"{fitting(max(need.loading + given.context_gb, size) if need.loading else size)}"
            for size in (plain, again)
        ]
        gigabytes = [need.weights, need.loading, need.learning, need.kept, need.recomputed, plain, again]
        rows.append([name, *(f"{size:.1f}" for size in gigabytes), *fits])
    head = ["backbone", "weights", "while opened", "LoRA and Adam", "activations", "with checkpointing"]
    return table([*head, "all", "all with checkpointing", "smallest card", "with checkpointing"], rows)


def fitting(size: float) -> str:
    """The smallest card that holds so many GB."""
    return next((f"{card} GB" for card in CARDS if size <= card), "none")


def exchange(geometry: Geometry, given: Assumptions) -> str:
    """What a process sends by axis, and the time beside that of what is computed."""
    rows = []
    for sent in exchanges(geometry, given, PROCESSES):
        times = [milliseconds(sent.sent_bytes / speed) for speed in LINKS.values()]
        rows.append(
            [sent.axis, sent.what, sent.per, amount(sent.sent_bytes), milliseconds(sent.compute_seconds), *times]
        )
    return table(
        ["split", "sent", "once a", "bytes", "computed meanwhile, ms", *(f"{name}, ms" for name in LINKS)], rows
    )


def milliseconds(seconds: float) -> str:
    """Two digits below 10, whole numbers from there on."""
    return f"{1e3 * seconds:.2g}" if seconds < 0.01 else f"{1e3 * seconds:,.0f}"


def amount(size: float) -> str:
    """Bytes in a unit that suits."""
    for unit, name in ((1e12, "TB"), (GB, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size:.0f} B"


def between(values: Sequence[float]) -> str:
    """From the lower to the higher of two."""
    low, high = sorted(values)
    return f"{short(low)} to {short(high)}" if short(low) != short(high) else short(low)


def short(value: float) -> str:
    """Whole numbers from 10 on."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def measured_utilisation(path: Path, geometry: str, peak_tflops: float) -> float:
    """What gpu.py measured of a geometry without checkpointing, by the peak assumed here.

    Raises:
        SystemExit: where it measured none.
    """
    rows = json.loads(path.read_text(encoding="utf-8")).get("updates", [])
    for row in rows:
        if row["geometry"] == geometry and not row["checkpointing"] and "model_flops_per_second" in row:
            return float(row["model_flops_per_second"] / (peak_tflops * 1e12))
    raise SystemExit(f"{path} has no update of {geometry}; it has {sorted({row['geometry'] for row in rows})}")


def parse() -> tuple[argparse.Namespace, Assumptions]:
    """What to print, and the assumptions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measured", type=Path, required=True, help="what scale_measure.py wrote")
    parser.add_argument("--geometry", choices=GEOMETRIES, default="smollm2-1.7b", help="of the bill and of exchanges")
    parser.add_argument("--gpu", type=Path, help="what gpu.py wrote on a card")
    for field in fields(Assumptions):
        option = f"--{field.name.replace('_', '-')}"
        if field.name == "utilisation":
            parser.add_argument(option, type=float, nargs=2, default=field.default, help="of the peak: best and worst")
        else:
            parser.add_argument(option, type=type(field.default), default=field.default)
    arguments = parser.parse_args()
    values: dict[str, Any] = {field.name: getattr(arguments, field.name) for field in fields(Assumptions)}
    given = Assumptions(**values | {"utilisation": tuple(values["utilisation"])})
    if arguments.gpu is not None:
        share = measured_utilisation(arguments.gpu, arguments.geometry, given.peak_tflops)
        given = replace(given, utilisation=(share, share))
    return arguments, given


def main() -> None:
    """Print all tables as Markdown."""
    arguments, given = parse()
    measured = json.loads(arguments.measured.read_text(encoding="utf-8"))
    geometry = GEOMETRIES[arguments.geometry]
    sections = {
        f"{arguments.geometry}: {given.symbols:,} symbols, {given.years:g} years": bill(geometry, given),
        "By size": by_size(measured, given),
        "Memory of one GPU, GB": memory_by_size(measured, given, 1),
        f"Memory of each of {PROCESSES} GPUs that share the frozen layers, GB": memory_by_size(
            measured, given, PROCESSES
        ),
        f"What each of {PROCESSES} processes sends, {arguments.geometry}": exchange(geometry, given),
    }
    print("\n\n".join(f"**{title}**\n\n{text}" for title, text in sections.items()))


if __name__ == "__main__":
    main()
