"""What the rebuilt published table prints at its end."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

PERCENT = {"cumulative_return": "CR %", "annual_volatility": "AV %", "max_drawdown": "MDD %"}
PUBLISHED = ("cumulative_return", "sharpe_ratio", "annual_volatility", "max_drawdown")
PLAIN = {"sharpe_ratio": "Sharpe"}


def print_reproduced(rows: dict[str, Any], audit: dict[str, Any], data_dir: Path) -> None:
    """Print each rebuilt Buy & Hold row under the printed one, what was skipped, and where the audit is."""
    console = Console()
    table = Table(title="Published Buy & Hold rows", caption=f"Printed: {rows['source']}. * differs.")
    table.add_column("symbol")
    table.add_column("row", no_wrap=True)
    for column in PUBLISHED:
        table.add_column(PERCENT.get(column) or PLAIN[column], justify="right", no_wrap=True)
    for symbol, row in rows["rows"].items():
        table.add_row(symbol, "printed", *(_cell(column, row["printed"][column]) for column in PUBLISHED))
        table.add_row("", "recomputed", *(_recomputed(row, column) for column in PUBLISHED), end_section=True)
    console.print(table)
    for symbol, row in rows["rows"].items():
        console.print(f"  {symbol:<5} {row['convention']['text']}", highlight=False)
    for symbol, reason in rows["skipped"].items():
        console.print(f"  {symbol:<5} skipped: {reason}", highlight=False)
    console.print(
        f"[bold]{len(audit['findings'])} findings[/bold] on the {len(audit['rows'])} rows of the published table: "
        f"open {data_dir / '08_reporting' / 'published.html'}"
    )


def _recomputed(row: dict[str, Any], column: str) -> str:
    return _cell(column, row["recomputed"][column]) + ("" if row["matches"][column] else "*")


def _cell(column: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3%}".removesuffix("%") if column in PERCENT else f"{value:.3f}"
