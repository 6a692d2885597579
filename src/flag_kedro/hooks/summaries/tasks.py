"""What an evaluation on other tasks prints at its end."""

from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from flag_kedro.hooks.summaries.figures import figure, interval, p_value, wide_console
from flag_kedro.names import POLICY

LEVEL = 0.05
HAR, EWMA = "har", "ewma"


def print_tasks(report: dict[str, Any], data_dir: Path) -> None:
    """Print each task: what every reader lost, and whether the trained policy lost less."""
    console = wide_console()
    console.print(f"Market: {escape(report['market'])}", style="bold", highlight=False)
    console.print(_table(report["tasks"]))
    for name, task in report["tasks"].items():
        for reader in (HAR, EWMA) if "head_differences" in task else ():
            console.print(_head_line(name, reader, task["head_differences"][reader]), highlight=False)
    for task, reason in report["left_out"].items():
        console.print(f"{task} is left out: {escape(reason)}.", highlight=False)
    console.print(f"  all figures      {data_dir / '08_reporting' / 'task_evaluation.json'}", highlight=False)


def _table(tasks: dict[str, Any]) -> Table:
    table = Table(
        title="Other tasks, asked of the vectors that the policy reads: test window",
        caption=(
            "loss: the less the better. less: flag_trader's loss less the reader's, below 0 is better, with its\n"
            "95 % interval and p (Diebold and Mariano, by session). crossed: returns below the value at risk, of\n"
            "which 5 % were said; Kupiec: symbols whose share he rejects at 5 %. No correction for several tasks."
        ),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for column in ("task", "reader"):
        table.add_column(column, no_wrap=True)
    for column in ("loss", "AUC", "crossed %", "Kupiec", "less", "95 %", "p"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, task in tasks.items():
        for place, (reader, score) in enumerate(task["readers"].items()):
            coverage, difference = score["coverage"].values(), task["differences"].get(reader) or {}
            table.add_row(
                f"{name}, {task['loss']}" if place == 0 else "",
                reader,
                f"{score['loss']:.4g}",
                figure(score["auc"]),
                figure(score["share_crossed"], 1, 100.0),
                f"{sum(each['kupiec_p_value'] < LEVEL for each in coverage)} of {len(coverage)}" if coverage else "-",
                f"{difference['value']:+.4g}" if difference else "-",
                _interval(difference.get("ci95")),
                p_value(difference.get("p_value")) if difference else "-",
                style="bold" if reader == POLICY else None,
            )
    return table


def _head_line(task: str, reader: str, difference: dict[str, Any] | None) -> str:
    """What the volatility head loses less than another reader."""
    if difference is None:
        return f"{task}: volatility_head and {reader} cannot be told apart."
    interval_95 = _interval(difference["ci95"])
    return (
        f"{task}: volatility_head less {reader} {difference['value']:+.4g}, 95 % {interval_95}, "
        f"p {p_value(difference['p_value'])}"
    )


def _interval(ends: list[float] | None) -> str:
    return interval(None) if ends is None else f"\\[{ends[0]:+.3g}, {ends[1]:+.3g}]"
