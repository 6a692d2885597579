"""What a backtest prints at its end."""

import math
from pathlib import Path
from statistics import median
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flag_kedro.hooks.summaries.figures import figure, percent
from flag_kedro.names import BENCHMARK, POLICY

LEVEL = 0.05

Results = dict[str, dict[str, dict[str, Any]]]


def print_backtest(
    metrics: dict[str, Any],
    inference: dict[str, Any],
    audit: dict[str, Any],
    data_report: dict[str, Any],
    data_dir: Path,
) -> None:
    """Print the policy against buy and hold, all strategies over all symbols, verdicts, and where to look next."""
    console = Console()
    console.print(_by_symbol(metrics, inference["symbols"]))
    console.print(_by_strategy(metrics, inference["symbols"]))
    console.print("Verdicts, on the account after costs:")
    for symbol, strategies in inference["symbols"].items():
        console.print(f"  {symbol}: {escape(strategies[POLICY]['verdict'])}", highlight=False)
    console.print(_audited(audit))
    for warning in data_report["warnings"]:
        console.print(f"[yellow]Beware[/yellow] of the data: {escape(warning)}", highlight=False)
    console.print("[bold]Next[/bold]")
    console.print(f"  report           open {data_dir / '08_reporting' / 'backtest_report.html'}")
    console.print("  pipeline         make viz        (kedro viz run)")
    console.print("  compare runs     make ui         (kedro mlflow ui)")
    console.print('  another run      .venv/bin/kedro run --params="seed=1,env.cost_bps=2"')


def _by_symbol(metrics: dict[str, Any], inference: Results) -> Table:
    convention = metrics["convention"]
    first, last = convention["window"]
    cost = convention["cost_bps"] + convention["slippage_bps"]
    table = Table(
        title=f"Backtest {first} to {last}: fill {convention['fill']}, {cost:g} bp a trade",
        caption=(
            f"Convention {convention['name']}; Sharpe = {convention['sharpe_ratio']}.\n"
            "p: of no difference to buy and hold's Sharpe, account after costs.\n"
            "shifts: share of time shifts of the same positions that earned less."
        ),
        box=box.SIMPLE_HEAD,
    )
    table.add_column("symbol", no_wrap=True)
    table.add_column("strategy", no_wrap=True)
    for name in ("CR %", "Sharpe", "AV %", "MDD %", "p", "shifts"):
        table.add_column(name, justify="right", no_wrap=True)
    for symbol, strategies in metrics["results"].items():
        tests = inference[symbol][POLICY]
        for strategy in (POLICY, BENCHMARK):
            scores, is_policy = strategies[strategy], strategy == POLICY
            table.add_row(
                symbol if is_policy else "",
                strategy,
                percent(scores["cumulative_return"]),
                figure(scores["sharpe_ratio"]),
                percent(scores["annual_volatility"]),
                percent(scores["max_drawdown"]),
                figure(tests["sharpe_difference"]["p_value"], 4) if is_policy else "",
                figure(tests["shift_percentile"]) if is_policy else "",
                style="bold" if is_policy else None,
            )
    return table


def _by_strategy(metrics: dict[str, Any], inference: Results) -> Table:
    results, name_of = metrics["results"], metrics["convention"]["name"]
    table = Table(
        title=f"All strategies over {len(results)} symbol(s)",
        caption=(
            f"CR and Sharpe in the convention {name_of}; the other columns are of the account after costs.\n"
            "Strategies that always hold one position are never above. p counts leads that the verdict grants."
        ),
        box=box.SIMPLE_HEAD,
    )
    table.add_column("strategy", no_wrap=True)
    for name in ("sum of CR %", "median Sharpe", "above B&H", f"p <= {LEVEL:g}"):
        table.add_column(name, justify="right", no_wrap=True)
    names = list(next(iter(results.values())))
    total = {name: _sum([rows[name]["cumulative_return"] for rows in results.values()]) for name in names}
    for name in sorted(names, key=lambda name: _order(total[name])):
        table.add_row(
            name,
            percent(total[name]),
            _median([rows[name]["sharpe_ratio"] for rows in results.values()]),
            *(["", ""] if name == BENCHMARK else _against_benchmark(name, _account(metrics), inference)),
            style="bold" if name == POLICY else None,
        )
    return table


def _order(total: float | None) -> float:
    """Best first, ruined last."""
    return math.inf if total is None else -total


def _account(metrics: dict[str, Any]) -> Results:
    """Scores in the convention `account`, whichever the run shows."""
    parts = (metrics, metrics["other_convention"])
    results: Results = next(part["results"] for part in parts if part["convention"]["name"] == "account")
    return results


def _against_benchmark(name: str, results: Results, inference: Results) -> list[str]:
    """On how many symbols a strategy earned more than buy and hold, and on how many the verdict grants a lead."""
    ahead = sum(
        inference[symbol][name]["collapse"]["collapsed_to"] is None
        and rows[name]["cumulative_return"] is not None
        and rows[name]["cumulative_return"] > rows[BENCHMARK]["cumulative_return"]
        for symbol, rows in results.items()
    )
    proven = sum(rows[name]["proven_ahead"] for rows in inference.values())
    return [f"{ahead} of {len(results)}", f"{proven} of {len(results)}"]


def _sum(values: list[float | None]) -> float | None:
    """The sum; None where an account was ruined."""
    defined = [value for value in values if value is not None]
    return sum(defined) if len(defined) == len(values) else None


def _median(values: list[float | None]) -> str:
    """The median of those that are defined, and how many these are if not all."""
    defined = [value for value in values if value is not None]
    if not defined:
        return "-"
    return f"{median(defined):.3f}" + ("" if len(defined) == len(values) else f" ({len(defined)} of {len(values)})")


def _audited(audit: dict[str, Any]) -> str:
    num, times = sum(sum(check["compared"].values()) for check in audit["checks"]), len(audit["checks"])
    if audit["passed"]:
        return f"[green]Causality audit passed[/green]: the future corrupted {times} times, {num:,} rows compared."
    num_leaks = sum(check["num_differences"] for check in audit["checks"])
    return f"[bold red]Causality audit FAILED[/bold red]: {num_leaks:,} of {num:,} rows depend on the future."
