"""What the comparison of every session and events prints at its end."""

from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from flag_kedro.hooks.summaries.figures import figure, interval, p_value, percent, wide_console
from flag_kedro.names import POLICY

TRADED = {"every_session": "every session", "events": "events"}


def print_events(results: dict[str, Any], data_dir: Path) -> None:
    """Print both ways of trading side by side, and what prices did around the policy's decisions."""
    console = wide_console()
    console.print(f"Market: {escape(results['market'])}", style="bold", highlight=False)
    num = {name: sum(each[name] for each in results["events"].values()) for name in ("sessions", "events")}
    console.print(
        f"{num['events']} of {num['sessions']} sessions are events; {POLICY} was trained to trade on "
        f"{TRADED[results['trained_on']]}.",
        highlight=False,
    )
    console.print(_table(results))
    kept, difference = results["kept"][POLICY], results["differences"].get(POLICY)
    console.print(
        f"On events {POLICY} keeps {percent(kept['log_return'], 0)} % of its log return at "
        f"{percent(kept['turnover'], 0)} % of its turnover.",
        highlight=False,
    )
    if difference is not None:
        sharpe = difference["sharpe_ratio"]
        console.print(
            f"Sharpe ratio on events less at every session: {figure(sharpe['value'], 2)} "
            f"{interval(sharpe['ci95'], 1)}, p {p_value(sharpe['p_value'])}",
            highlight=False,
        )
    for mode, by_strategy in results["event_study"]["decisions"].items():
        for side, study in by_strategy[POLICY].items():
            console.print(_told(f"{side} ({TRADED[mode]})", study, results["event_study"]), highlight=False)
    console.print(f"  figure           {data_dir / '08_reporting' / 'event_study.html'}", highlight=False)
    console.print(f"  all figures      {data_dir / '08_reporting' / 'event_study.json'}", highlight=False)


def _told(name: str, study: dict[str, Any], around: dict[str, Any]) -> str:
    """The abnormal return from the fill on, in a line."""
    earned = study["earned"]
    return (
        f"{name}: {study['num']} fills ({study['num_cut']} cut), {around['model']} return from the fill to session "
        f"{around['span']['horizon']} {figure(earned['value'], 2, 100.0)} % {interval(earned['ci95'], 2, 100.0)}, "
        f"p {p_value(study['corrected_p_values'].get('earned'))} (Holm)"
    )


def _table(results: dict[str, Any]) -> Table:
    table = Table(
        title=f"{results['window'][0]} to {results['window'][1]}, {len(results['symbols'])} symbols, equal costs",
        caption=(
            "on: all sessions or events; log: sum over symbols; share: of what the optimal policy expects\n"
            "who trades at every session; turnover is a year's, over mean equity;\n"
            "Sharpe: of the account of all symbols, with its 95 % interval."
        ),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("strategy", no_wrap=True)
    for name in ("on", "log", "share", "fills", "turnover", "Sharpe", "95 %"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in results["kept"]:
        for mode, said in TRADED.items():
            row = results["scores"][mode][name]
            table.add_row(
                name if mode == "every_session" else "",
                "all" if mode == "every_session" else said,
                figure(row["summed_log_return"], 2),
                figure(row["share"], 2),
                figure(row["num_fills"], 0),
                figure(row["turnover"], 1),
                figure(row["sharpe_ratio"], 2),
                interval(row["sharpe_ratio_ci95"], 1),
                style="bold" if name == POLICY else None,
            )
    return table
