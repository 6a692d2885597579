"""Picture and table of what `power_curve.py` measured.

python benchmarks/plot_power_curve.py power.json docs/images/power_curve.png
"""

import argparse
import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import polars as pl

mpl.use("Agg")

import matplotlib.pyplot as plt

COLUMNS = ["learner", "signal", "decisions"]


def read_shares(path: Path) -> pl.DataFrame:
    """`learner`, `signal`, `decisions` (training sessions x symbols), mean `share`, its standard `error`, and `num`."""
    cells = pl.DataFrame(list(json.loads(path.read_text()).values()))
    grouped = cells.with_columns(decisions=pl.col("sessions") * pl.col("symbols")).group_by(COLUMNS)
    share = pl.col("share")
    return grouped.agg(share.mean(), error=share.std() / pl.len().sqrt(), num=pl.len()).sort(COLUMNS)


def draw(shares: pl.DataFrame, target: Path) -> None:
    """One panel a learner, one line an effect."""
    learners = shares["learner"].unique(maintain_order=True).to_list()
    figure, axes = plt.subplots(1, len(learners), figsize=(5.2 * len(learners), 4.2), sharey=True, squeeze=False)
    signals = shares["signal"].unique().sort().to_list()
    colors = plt.get_cmap("viridis")(np.linspace(0.0, 0.85, len(signals)))
    for axis, learner in zip(axes[0], learners, strict=True):
        for signal, color in zip(signals, colors, strict=True):
            rows = shares.filter((pl.col("learner") == learner) & (pl.col("signal") == signal))
            error = rows["error"].fill_null(0.0).to_numpy()
            axis.errorbar(rows["decisions"], rows["share"], error, color=color, marker="o", label=f"{signal:.2%}")
        axis.set(xscale="log", title=learner, xlabel="training sessions x symbols", ylim=(-1.0, 1.0))
        axis.axhline(0.0, color="black", linewidth=0.8)
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("share of what the optimal policy expects")
    axes[0, -1].legend(title="effect of a headline\nin its first session", fontsize=8)
    figure.tight_layout()
    figure.savefig(target, dpi=110)


def main() -> None:
    """Draw, and print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="of power_curve.py")
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    shares = read_shares(arguments.results)
    draw(shares, arguments.picture)
    decisions = shares["decisions"].unique().sort().to_list()
    print("| learner, effect | " + " | ".join(f"{num:,}" for num in decisions) + " |")
    print("|---|" + "---:|" * len(decisions))
    for (learner, signal), rows in shares.group_by("learner", "signal", maintain_order=True):
        found = dict(rows.select("decisions", "share").rows())
        cells = (f"{found[num]:.2f}" if num in found else "" for num in decisions)
        print(f"| {learner}, {signal:.2%} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
