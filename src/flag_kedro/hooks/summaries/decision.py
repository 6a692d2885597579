"""What `--pipelines=decide` and `--pipelines=follow` print at their ends."""

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flag_kedro.hooks.summaries.figures import figure, interval, percent
from flag_kedro.names import SIMULATED

POSITIONS = {-1: "short", 0: "flat", 1: "long"}
SHOWN = 3
"""Parts of a prompt that are told of one symbol."""


def print_decision(decision: dict[str, Any], data_dir: Path) -> None:
    """Print what to do with each symbol, and what would have changed it."""
    console = Console()
    decisions = decision["decisions"]
    if decision["market"].startswith(SIMULATED):
        console.print("[bold]SIMULATED[/bold]: no real market has these prices and headlines.", highlight=False)
    for session in sorted({each["session"] for each in decisions}):
        some = [each for each in decisions if each["session"] == session]
        console.print(
            f"Decided at the close of {session} ({_age(some[0]['sessions_behind'])}), to trade at the "
            f"{some[0]['fill'].replace('_', ' ')}: {', '.join(each['symbol'] for each in some)}.",
            highlight=False,
        )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in ("symbol", "now", "do"):
        table.add_column(column, no_wrap=True)
    for column in ("sell", "hold", "buy", "value"):
        table.add_column(column, justify="right", no_wrap=True)
    for each in decisions:
        odds = each["probabilities"]
        table.add_row(
            each["symbol"],
            POSITIONS[each["position"]],
            f"[bold]{each['action']}[/bold]",
            *(f"{odds[name]:.2f}" for name in ("sell", "hold", "buy")),
            f"{each['value']:+.3f}",
        )
    console.print(table)
    if any("events" in each for each in decisions):
        for line in _events(decisions):
            console.print(line, highlight=False)
    for said in dict.fromkeys(each["position_from"] for each in decisions):
        console.print(f"Positions: {said}.", highlight=False)
    for symbol, reason in decision["left_out"].items():
        console.print(f"No decision on {symbol}: {reason}.", highlight=False)
    console.print("Without one part of what was told, the probability of the action would change by:", highlight=False)
    for each in decisions:
        for line in _parts(each):
            console.print(f"  {each['symbol']}  {line}", highlight=False, soft_wrap=True)
    console.print(f"  all of it        {data_dir / '07_model_output' / 'decision.json'}", highlight=False)


def _events(decisions: list[dict[str, Any]]) -> list[str]:
    """Which symbols have an event, and which must hold for want of one."""
    kinds = {each["symbol"]: ", ".join(each["events"]) for each in decisions}
    lines = [f"{symbol} has an event: {names.replace('_', ' ')}." for symbol, names in kinds.items() if names]
    idle = [symbol for symbol, names in kinds.items() if not names]
    return [*lines, f"No event, so hold: {', '.join(idle)}."] if idle else lines


def _parts(decision: dict[str, Any]) -> list[str]:
    """The parts that count most, the largest first."""
    taken = decision["probabilities"][decision["action"]]
    parts = sorted(decision["without"], key=lambda part: -abs(part["probability"] - taken))
    return [
        f"{part['probability'] - taken:+.2f}{' -> ' + part['action'] if part['action'] != decision['action'] else ''}  "
        f"{escape(part['text'])}"
        for part in parts[:SHOWN]
    ]


def _age(behind: int | None) -> str:
    if behind is None:
        return "as asked for"
    return "the last that closed" if behind == 0 else f"{behind} have closed since"


def print_forward_test(found: dict[str, Any], data_dir: Path) -> None:
    """Print what came of the decisions in the ledger."""
    console = Console()
    first, last = found["window"]
    if found["market"].startswith(SIMULATED):
        console.print("[bold]SIMULATED[/bold]: no real market has these prices and headlines.", highlight=False)
    table = Table(title=f"Forward test, {first} to {last}", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("strategy", no_wrap=True)
    for column in ("return %", "Sharpe", "95 %", "trades"):
        table.add_column(column, justify="right", no_wrap=True)
    for strategy, scores in found["scores"].items():
        table.add_row(
            strategy,
            percent(scores["cumulative_return"], 2),
            figure(scores["sharpe_ratio"], 2),
            interval(scores.get("sharpe_ratio_ci95"), 1),
            figure(scores["num_trades"], 0),
        )
    console.print(table)
    console.print(f"{found['num_decisions']} decisions of this policy{_counted(found)}.", highlight=False)
    console.print(_against_promise(found), highlight=False, soft_wrap=True)
    console.print(f"  all of it        {data_dir / '08_reporting' / 'forward_test.json'}", highlight=False)


def _counted(found: dict[str, Any]) -> str:
    """What else was found in the ledger."""
    counts = {
        "not filled yet": found["num_waiting"],
        "of other policies left out": found["num_other_policies"],
        "sessions without a decision, on which positions were held": found["num_undecided"],
        "that could not be carried out": found["num_illegal"],
        "taken from another position than the account had": found["num_other_positions"],
    }
    return "".join(f"; {number} {words}" for words, number in counts.items() if number)


def _against_promise(found: dict[str, Any]) -> str:
    promise = found["promise"]
    if promise is None:
        return f"It is not held against the backtest: {found['not_compared']}."
    low, high = (100 * end for end in promise["interval"])
    earned, expected = 100 * promise["total_return"], 100 * promise["expected"]
    verdict = "as the backtest promised" if promise["kept"] else "not what the backtest promised"
    return (
        f"It earned {earned:+.2f} % in {promise['num_sessions']} sessions; as long stretches of the backtest earn "
        f"{expected:+.2f} % on average, and {low:+.2f} to {high:+.2f} % in 95 % of cases: {verdict} "
        f"(percentile {promise['percentile']:.2f})."
    )
