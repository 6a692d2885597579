"""What the learnability certificate prints at its end."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def print_certificate(certificate: dict[str, Any], data_dir: Path) -> None:
    """Print each seed's share of the oracle and its twin, and the verdict."""
    console = Console()
    if certificate.get("kind") == "language":
        _print_language(certificate, console)
        console.print(f"  all figures      {data_dir / '08_reporting' / 'certificate.json'}", highlight=False)
        return
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


def _print_language(certificate: dict[str, Any], console: Console) -> None:
    """Each reader's median share, whole and by level, and the language model's lead over it."""
    levels = list(certificate["readers"][0]["by_level"]) if certificate["readers"] else []
    seeds = len(certificate["readers"][0]["shares"]) if certificate["readers"] else 0
    table = Table(
        title=f"Language certificate, SIMULATED markets, {certificate['backbone']}",
        caption=f"Medians over {seeds} seeds: share of what the optimal policy expects of the held-out headlines.",
    )
    table.add_column("reader", no_wrap=True)
    for column in ("share", *levels, "earned", "lead of flag_trader"):
        table.add_column(column, justify="right")
    for each in certificate["readers"]:
        lead = "" if each["behind"] is None else "{:+.2f} [{:+.2f}, {:+.2f}]".format(*each["behind"])
        by_level = ("-" if value is None else f"{value:.2f}" for value in each["by_level"].values())
        share, earned = f"{each['median_share']:.2f}", f"{each['median_earned_share']:.2f}"
        table.add_row(each["reader"], share, *by_level, earned, lead)
    console.print(table)
    if certificate["uninformative_seeds"]:
        left_out = " ".join(map(str, certificate["uninformative_seeds"]))
        console.print(f"Left out, since their markets say nothing: {left_out}.", highlight=False)
    verdict = (
        "[bold]Passed[/bold]" if certificate["passed"] else f"[bold]Failed[/bold]: {'; '.join(certificate['reasons'])}"
    )
    console.print(f"{verdict}.")
