"""What ingest prints at its end."""

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flag_kedro.hooks.command import FollowUp

SHOWN = 20
"""Symbols in the table; the rest are counted."""


def print_data(report: dict[str, Any], data_dir: Path) -> None:
    """Print each symbol's span and news, and where to look next; warnings were logged as they came up."""
    console = Console()
    table = Table(title="Data let in", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in ("symbol", "first", "last"):
        table.add_column(column, no_wrap=True)
    for column in ("sessions", "gaps", "articles", "news days %"):
        table.add_column(column, justify="right", no_wrap=True)
    for symbol, fact in list(report["symbols"].items())[:SHOWN]:
        counts = (str(fact[name]) for name in ("num_sessions", "num_gaps", "num_articles"))
        table.add_row(symbol, fact["first"], fact["last"], *counts, f"{100 * fact['share_with_news']:.0f}")
    console.print(table)
    if len(report["symbols"]) > SHOWN:
        console.print(f"  ... and {len(report['symbols']) - SHOWN} more symbols")
    if report["warnings"]:
        console.print(f"  {len(report['warnings'])} warning(s) above; they are in the report, too", highlight=False)
    console.print(f"  all facts        {data_dir / '08_reporting' / 'data_report.json'}", highlight=False)
    if report["num_rejected"]:
        left_out = data_dir / "02_intermediate" / "quarantine.parquet"
        console.print(f"  left out         {left_out}", highlight=False)


def print_streamed(report: dict[str, Any], made: dict[str, int], data_dir: Path) -> None:
    """Print what a streamed market holds and what was made anew, and how symbols are chosen out of it."""
    console = Console()
    table = Table(title="Market streamed", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in ("", "rows", "left out", "merged", "kept"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    prices, articles = report["prices"], report["articles"]
    counts = {
        "prices": (prices["rows"], prices["left_out"], prices["repeated"], prices["kept"]),
        "articles": (articles["read"], articles["left_out"], articles["folded"], articles["kept"]),
    }
    for name, row in counts.items():
        table.add_row(name, *(f"{count:,}" for count in row))
    console.print(table)
    console.print(
        f"  states           {made['num_states']:,} of {made['num_symbols']:,} symbols; {made['states_built']:,} made "
        f"in {made['partitions_built']:,} partitions",
        highlight=False,
    )
    console.print(f"  in               {data_dir / '02_intermediate' / 'state_store'}", highlight=False)
    console.print(f"  all facts        {data_dir / '08_reporting' / 'stream_report.json'}", highlight=False)
    command = escape(FollowUp.command("select"))
    console.print(f"  next             {command}   takes data.symbols out of it", highlight=False, soft_wrap=True)


def print_made(names: list[str], data_dir: Path) -> None:
    """Name what a run made whose parts have no summary of their own, and what comes next."""
    console = Console()
    console.print(f"[bold]Made[/bold] {', '.join(names) or 'nothing that is kept'}", highlight=False)
    console.print(f"  in               {data_dir}", highlight=False)
    if "sb3_baseline" in names:
        command = escape(FollowUp.command("backtest"))
        console.print(f"  next             {command}   replays it beside the others", highlight=False, soft_wrap=True)
