"""What a portfolio prints at its end."""

from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from flag_kedro.hooks.summaries.audit import audit_line
from flag_kedro.hooks.summaries.figures import figure, interval, p_value, percent, wide_console
from flag_kedro.names import POLICY


def print_portfolio(results: dict[str, Any], audit: dict[str, Any], data_dir: Path) -> None:
    """Print the portfolio beside the rules, where its return came from, and whether it saw the future."""
    console = wide_console()
    console.print(f"Market: {escape(results['market'])}", style="bold", highlight=False)
    console.print(_table(results))
    for name in results["in_hindsight"]:
        console.print(f"{name} was chosen by what the window turned out to be: nobody could have held it on purpose.")
    if (yardstick := results["yardstick"]) is not None:
        console.print(_beside_oracle(yardstick), highlight=False)
    parts = ", ".join(f"{symbol} {100.0 * value:+.1f}" for symbol, value in results["contributions"].items())
    console.print(f"What {POLICY}'s symbols added to its return, in percent of equity: {parts}", highlight=False)
    console.print(audit_line(audit, "portfolio_audit.json"), highlight=False)
    console.print(f"  weights, equity  {data_dir / '07_model_output' / 'portfolio_weights.parquet'}", highlight=False)
    console.print(f"  all figures      {data_dir / '08_reporting' / 'portfolio.json'}", highlight=False)


def _table(results: dict[str, Any]) -> Table:
    first, last = results["window"]
    table = Table(
        title=f"{len(results['symbols'])} symbols in one account, {first} to {last}",
        caption=(
            f"less: {POLICY}'s Sharpe ratio less the rule's, with its 95 % interval and p (Ledoit and Wolf).\n"
            "Rules are rebalanced every 21 sessions; turnover is a year's, over mean equity."
        ),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("strategy", no_wrap=True)
    for name in ("return %", "Sharpe", "95 %", "MDD %", "turnover", "less", "95 %", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, scores in results["scores"].items():
        difference = results["differences"].get(name) or {}
        table.add_row(
            name,
            percent(scores["total_return"], 2),
            figure(scores["sharpe_ratio"], 2),
            interval(scores["sharpe_ratio_ci95"], 1),
            percent(scores["max_drawdown"], 1),
            figure(scores["turnover"], 1),
            figure(difference.get("value"), 2),
            interval(difference.get("ci95"), 1),
            p_value(difference.get("p_value")) if difference else "-",
            style="bold" if name == POLICY else None,
        )
    return table


def _beside_oracle(yardstick: dict[str, Any]) -> str:
    expected, shares = yardstick["expected_log_return"], yardstick["shares"]
    opening = f"Who knows this market's rule and headlines expects a log return of {expected:.2f} from one such account"
    if not shares:
        return f"{opening}: effects do not pay for costs."
    ranked = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    return f"{opening}; of that took {ranked}."
