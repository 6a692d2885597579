"""What a run prints at its end."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

PERCENT = {"cumulative_return": "CR %", "annual_volatility": "AV %", "max_drawdown": "MDD %"}
PUBLISHED = ("cumulative_return", "sharpe_ratio", "annual_volatility", "max_drawdown")
PLAIN = {"sharpe_ratio": "Sharpe"}


def print_trained(data_dir: Path) -> None:
    """Say where the policy is and what to do with it."""
    console = Console()
    console.print(f"[bold]Trained.[/bold] The policy is in {data_dir / '06_models' / 'policy'}.")
    console.print("  judge it         .venv/bin/kedro run --pipeline=backtest")
    console.print("  learning curves  make ui         (kedro mlflow ui)")


def print_certificate(certificate: dict[str, Any], data_dir: Path) -> None:
    """Print each seed's share of the oracle and its twin, and the verdict."""
    console = Console()
    table = Table(title="Learnability certificate", caption="Held-out log returns, summed over symbols.")
    for column in ("seed", "policy", "oracle", "share", "oracle's t", "twin", "percentile among shifts"):
        table.add_column(column, justify="right", no_wrap=True)
    for row, twin in zip(certificate["signal"], certificate["twins"], strict=True):
        place = "constant" if twin["shift_percentile"] is None else f"{twin['shift_percentile']:.2f}"
        figures = (row["log_return"], row["oracle_log_return"], row["share"], row["oracle_t"], twin["log_return"])
        table.add_row(
            str(row["seed"]), *(f"{figure:.2f}" for figure in figures), place + ("" if twin["clean"] else "*")
        )
    console.print(table)
    if certificate["uninformative_seeds"]:
        left_out = " ".join(map(str, certificate["uninformative_seeds"]))
        console.print(f"Left out, since their markets say nothing: {left_out}.", highlight=False)
    if certificate["passed"]:
        console.print(f"[bold]Passed[/bold]: median share {certificate['oracle_share_median']:.2f}, twins clean.")
    else:
        console.print(f"[bold]Failed[/bold]: {'; '.join(certificate['reasons'])}.")
    console.print(f"  all figures      {data_dir / '08_reporting' / 'certificate.json'}", highlight=False)


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
        found = [_found(row, column) for column in PUBLISHED]
        table.add_row("", "recomputed", *found, end_section=True)
    console.print(table)
    for symbol, row in rows["rows"].items():
        console.print(f"  {symbol:<5} {row['convention']['text']}", highlight=False)
    for symbol, reason in rows["skipped"].items():
        console.print(f"  {symbol:<5} skipped: {reason}", highlight=False)
    console.print(
        f"[bold]{len(audit['findings'])} findings[/bold] on the {len(audit['rows'])} rows of the published table: "
        f"open {data_dir / '08_reporting' / 'published.html'}"
    )


def _found(row: dict[str, Any], column: str) -> str:
    return _cell(column, row["recomputed"][column]) + ("" if row["matches"][column] else "*")


def _cell(column: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3%}".removesuffix("%") if column in PERCENT else f"{value:.3f}"
