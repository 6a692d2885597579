"""Draw what a day costs against accounts, prefix length and epochs, from what `actor_critic.py --sweep` printed.

python benchmarks/plot_actor_critic.py sweep.json docs/images/actor_critic.png
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

PANELS = {"accounts": "accounts", "prefix": "prefix, tokens", "epochs": "epochs"}
CURVES = {
    "plain": ("plain loop", "#b3443c"),
    "full": ("all savings, cold cache", "#1f6f8b"),
    "warm": ("trunk cached before", "#6fa3b5"),
}
DTYPES = {"float32": "-", "bfloat16": "--"}


def on_axis(reports: Sequence[dict[str, Any]], axis: str) -> list[dict[str, Any]]:
    """The reports that differ from most others in `axis` alone, in its order."""
    others = [name for name in PANELS if name != axis]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for report in reports:
        groups.setdefault(tuple(report[name] for name in others), []).append(report)
    longest = max(groups.values(), key=len)
    return sorted(longest, key=lambda report: report[axis])


def draw_panel(axes: Axes, reports: Sequence[dict[str, Any]], axis: str) -> None:
    """Seconds a day by variant and number format."""
    for variant, (label, colour) in CURVES.items():
        for dtype, line in DTYPES.items():
            points = [
                (report[axis], row["seconds"])
                for report in reports
                for row in report["rows"]
                if (row["variant"], row["dtype"]) == (variant, dtype)
            ]
            if points:
                axes.plot(*zip(*points, strict=True), line, color=colour, marker="o", label=f"{label}, {dtype}")
    values = [report[axis] for report in reports]
    axes.set(xscale="log", yscale="log", xlabel=PANELS[axis])
    axes.set_xticks(values, [str(value) for value in values])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)


def draw(reports: Sequence[dict[str, Any]], path: Path) -> None:
    """Three panels side by side."""
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True, layout="constrained")
    for axes, axis in zip(panels, PANELS, strict=True):
        draw_panel(axes, on_axis(reports, axis), axis)
    panels[0].set_ylabel("seconds a day")
    first, base = reports[0], max(reports, key=lambda report: sum(report in on_axis(reports, axis) for axis in PANELS))
    figure.suptitle(
        f"{first['geometry']}, {first['frozen_layers']} of {first['num_layers']} layers frozen, "
        f"{first['device']}, {first['threads']} threads; {base['distinct']:g} distinct account texts of "
        f"{base['suffix']} tokens; {base['accounts']} accounts, prefix {base['prefix']}, "
        f"{base['epochs']} epochs where not on the axis",
        fontsize=9,
    )
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Read the sweep and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("picture", type=Path, nargs="?", default=Path("docs/images/actor_critic.png"))
    arguments = parser.parse_args()
    draw(json.loads(arguments.sweep.read_text()), arguments.picture)


if __name__ == "__main__":
    main()
