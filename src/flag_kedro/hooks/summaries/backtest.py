"""What a backtest prints at its end."""

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flag_kedro.backtest.answer import AnswerRow, answer_rows
from flag_kedro.experiments.language_models import sentences
from flag_kedro.experiments.yardstick import describe_yardstick
from flag_kedro.hooks.command import FollowUp
from flag_kedro.hooks.summaries.audit import describe_audit
from flag_kedro.hooks.summaries.figures import figure, interval, percent
from flag_kedro.names import ALL_SYMBOLS, BENCHMARK, POLICY, SIMULATED

Results = dict[str, dict[str, dict[str, Any]]]


def print_backtest(
    metrics: dict[str, Any],
    inference: dict[str, Any],
    audit: dict[str, Any],
    data_report: dict[str, Any],
    _data_dir: Path,
) -> None:
    """Print all strategies on the account of all symbols, the policy on each symbol, and what the audits say."""
    console = Console()
    pooled, symbols = inference["pooled"], inference["symbols"]
    account = metrics if metrics["convention"]["name"] == "account" else metrics["other_convention"]
    style = "black on yellow" if metrics["market"].startswith(SIMULATED) else "bold"
    console.print(f"[{style}]Market: {escape(metrics['market'])}[/]", highlight=False)
    console.print(_all_together(answer_rows(metrics["pooled"], pooled), account["convention"], len(symbols)))
    for sentence in (pooled[POLICY]["verdict"], pooled[POLICY]["rivals"]["verdict"]):
        console.print(escape(sentence), highlight=False)
    if (strength := describe_yardstick(metrics["yardstick"], POLICY)) is not None:
        console.print(f"[yellow]{escape(strength)}[/yellow]", highlight=False)
    if metrics["language_models"]["endpoint"] is not None:
        for sentence in sentences({**metrics["language_models"], "left_out": None}):
            console.print(f"[yellow]{escape(sentence)}[/yellow]", highlight=False)
    console.print(escape(inference["size_notes"][ALL_SYMBOLS]), highlight=False)
    console.print(_by_symbol(metrics, symbols))
    console.print("Symbol by symbol, on the account after costs, corrected for their number:")
    for symbol, strategies in symbols.items():
        console.print(f"  {symbol}: {escape(strategies[POLICY]['verdict'])}", highlight=False)
    console.print(describe_audit(audit), highlight=False)
    for warning in data_report["warnings"]:
        console.print(f"[yellow]Beware[/yellow] of the data: {escape(warning)}", highlight=False)


def print_next(data_dir: Path) -> None:
    """Where to look next, and the command of another run like this one."""
    console = Console()
    console.print("[bold]Next[/bold]")
    console.print(f"  report           open {data_dir / '08_reporting' / 'backtest_report.html'}")
    console.print("  pipeline         make viz        (kedro viz run)")
    console.print("  compare runs     make ui         (kedro mlflow ui)")
    another = FollowUp.command(seed=1, env__cost_bps=2)
    console.print(f"  another run      {escape(another)}", highlight=False, soft_wrap=True)


def _all_together(rows: list[AnswerRow], convention: dict[str, Any], num_symbols: int) -> Table:
    """Every strategy on the account of all symbols, the best first."""
    first, last = convention["window"]
    symbols = "1 symbol" if num_symbols == 1 else f"All {num_symbols} symbols in one account"
    table = Table(
        title=f"{symbols}, {first} to {last}\n{_trading(convention)}",
        caption=(
            "As much money in each symbol at the start, after costs. B&H, cash, shifts:\n"
            "p-values against buy and hold, cash, and time shifts of the same positions;\n"
            "below: of a lower Sharpe ratio. Ahead is who is above all three, after all trials."
        ),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("strategy", no_wrap=True)
    for name in ("return %", "Sharpe", "95 %", "B&H", "cash", "shifts", "ahead"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.strategy,
            percent(row.total_return, 2),
            figure(row.sharpe_ratio, 2),
            interval(row.sharpe_ratio_ci95, 1),
            *(_short(row, other) for other in ("sharpe", "cash", "shifts")),
            "" if row.ahead is None else "yes" if row.ahead else "no",
            style="bold" if row.strategy == POLICY else None,
        )
    return table


def _short(row: AnswerRow, other: str) -> str:
    """A p-value to three digits; where the strategy is below the other, the word for it."""
    if other not in row.p_values:
        return ""
    value = row.p_values[other]
    if other in row.below:
        return "below"
    return "<.001" if value is not None and value < 0.001 else figure(value)


def _trading(convention: dict[str, Any]) -> str:
    return f"fill {convention['fill']}, {convention['cost_bps'] + convention['slippage_bps']:g} bp a trade"


def _by_symbol(metrics: dict[str, Any], inference: Results) -> Table:
    convention = metrics["convention"]
    table = Table(
        title=f"Each symbol, {_trading(convention)}",
        caption=(
            f"Convention {convention['name']}; Sharpe = {convention['sharpe_ratio']}.\n"
            "p: of not being ahead, by Holm for the number of symbols."
        ),
        box=box.SIMPLE_HEAD,
    )
    table.add_column("symbol", no_wrap=True)
    table.add_column("strategy", no_wrap=True)
    for name in ("CR %", "Sharpe", "AV %", "MDD %", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    for symbol, strategies in metrics["results"].items():
        correction = inference[symbol][POLICY]["correction"]
        for strategy in (POLICY, BENCHMARK):
            scores, is_policy = strategies[strategy], strategy == POLICY
            table.add_row(
                symbol if is_policy else "",
                strategy,
                percent(scores["cumulative_return"]),
                figure(scores["sharpe_ratio"]),
                percent(scores["annual_volatility"]),
                percent(scores["max_drawdown"]),
                figure(correction and correction["holm"], 4) if is_policy else "",
                style="bold" if is_policy else None,
            )
    return table
