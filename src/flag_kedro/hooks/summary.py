"""What a run prints at its end."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

PERCENT = {
    "cumulative_return": "CR %",
    "annual_volatility": "AV %",
    "max_drawdown": "MDD %",
    "win_rate": "win %",
}
COLUMNS = ("cumulative_return", "sharpe_ratio", "annual_volatility", "max_drawdown", "win_rate", "turnover")
PUBLISHED = ("cumulative_return", "sharpe_ratio", "annual_volatility", "max_drawdown")
PLAIN = {"sharpe_ratio": "Sharpe", "turnover": "turnover"}


def print_backtest(metrics: dict[str, Any], data_dir: Path) -> None:
    """Print strategy by metric for each symbol, its convention, and where to look next."""
    console = Console()
    convention = metrics["convention"]
    first, last = convention["window"]
    cost = convention["cost_bps"] + convention["slippage_bps"]
    table = Table(
        title=f"Backtest {first} to {last}: fill {convention['fill']}, {cost:g} bp a trade",
        caption=f"Convention {convention['name']}; Sharpe = {convention['sharpe_ratio']}.",
    )
    table.add_column("symbol")
    table.add_column("strategy", no_wrap=True)
    for column in COLUMNS:
        table.add_column(PERCENT.get(column) or PLAIN[column], justify="right", no_wrap=True)
    for symbol, strategies in metrics["results"].items():
        best = max(strategies, key=lambda name: strategies[name]["cumulative_return"])
        for index, (strategy, scores) in enumerate(strategies.items()):
            cells = [_cell(column, scores[column]) for column in COLUMNS]
            style = "bold" if strategy == best else None
            last_row = index == len(strategies) - 1
            table.add_row(symbol if index == 0 else "", strategy, *cells, style=style, end_section=last_row)
    console.print(table)
    console.print(_verdict(metrics["results"]))
    console.print("[bold]Next[/bold]")
    console.print(f"  equity plot      open {data_dir / '08_reporting' / 'equity.html'}")
    console.print("  pipeline         make viz        (kedro viz run)")
    console.print("  compare runs     make ui         (kedro mlflow ui)")
    console.print('  another run      .venv/bin/kedro run --params="seed=1,env.cost_bps=2"')


def print_trained(data_dir: Path) -> None:
    """Say where the policy is and what to do with it."""
    console = Console()
    console.print(f"[bold]Trained.[/bold] The policy is in {data_dir / '06_models' / 'policy'}.")
    console.print("  judge it         .venv/bin/kedro run --pipeline=backtest")
    console.print("  learning curves  make ui         (kedro mlflow ui)")


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


def _verdict(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Where the policy ended above buy and hold; a policy that did not trade won nothing."""
    traded = {symbol: rows for symbol, rows in results.items() if rows["flag_trader"]["turnover"] > 0}
    ahead = [symbol for symbol, rows in traded.items() if _return(rows, "flag_trader") > _return(rows, "buy_and_hold")]
    idle = sorted(results.keys() - traded.keys())
    note = f" It did not trade {' '.join(idle)} at all." if idle else ""
    return f"flag_trader ends above buy_and_hold on {len(ahead)} of {len(results)} symbols (bold: highest CR).{note}"


def _return(rows: dict[str, dict[str, float]], strategy: str) -> float:
    return rows[strategy]["cumulative_return"]


def _cell(column: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3%}".removesuffix("%") if column in PERCENT else f"{value:.3f}"
