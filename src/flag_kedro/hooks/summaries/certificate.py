"""What the learnability certificate prints at its end."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def print_certificate(certificate: dict[str, Any], data_dir: Path) -> None:
    """Print each seed's share of the oracle and its twin, and the verdict."""
    console = Console()
    table = Table(title="Learnability certificate", caption="Held-out log returns, summed over symbols.")
    for column in ("seed", "policy", "oracle", "share", "oracle's t", "twin", "percentile among shifts"):
        table.add_column(column, justify="right", no_wrap=True)
    for row, twin in zip(certificate["signal"], certificate["twins"], strict=True):
        rank = "constant" if twin["shift_percentile"] is None else f"{twin['shift_percentile']:.2f}"
        figures = (row["log_return"], row["oracle_log_return"], row["share"], row["oracle_t"], twin["log_return"])
        table.add_row(str(row["seed"]), *(f"{figure:.2f}" for figure in figures), rank + ("" if twin["clean"] else "*"))
    console.print(table)
    if certificate["uninformative_seeds"]:
        left_out = " ".join(map(str, certificate["uninformative_seeds"]))
        console.print(f"Left out, since their markets say nothing: {left_out}.", highlight=False)
    if certificate["passed"]:
        console.print(f"[bold]Passed[/bold]: median share {certificate['oracle_share_median']:.2f}, twins clean.")
    else:
        console.print(f"[bold]Failed[/bold]: {'; '.join(certificate['reasons'])}.")
    console.print(f"  all figures      {data_dir / '08_reporting' / 'certificate.json'}", highlight=False)
