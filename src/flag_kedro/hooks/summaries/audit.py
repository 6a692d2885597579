"""What audits print: the one of each backtest in a line or two, the full one on its own."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flag_kedro.hooks.command import FollowUp

FULL_AUDIT = {
    "passed": "Full audit passed (the source cut, everything trained anew) on these data and this code.",
    "failed": "[bold red]Full audit FAILED[/bold red] on these data and this code: see 08_reporting/full_audit.json.",
    "outdated": "Full audit: last run on other data or code; {command} trains anew on a cut source.",
    "not run": "Full audit: not run; {command} trains anew on a source without the future.",
}
"""By what `pipelines.backtest.audit_nodes.state_of` says."""


def audit_line(audit: dict[str, Any], file: str) -> str:
    """Whether anything decided depends on what became known later, and in which report it is told."""
    checks = [*audit["checks"], audit["levels"], *([audit["fills"]] if "fills" in audit else [])]
    if audit["passed"]:
        rows = sum(sum(check["compared"].values()) for check in audit["checks"])
        num = len(audit["checks"])
        return f"[green]Causality audit passed[/green]: the future changed {num} times, {rows:,} rows compared."
    differences = sum(check["num_differences"] for check in checks)
    return f"[bold red]Causality audit FAILED[/bold red]: {differences:,} difference(s); 08_reporting/{file}."


def describe_audit(audit: dict[str, Any]) -> str:
    """The audit of a backtest, and whether the full one passed."""
    line = audit_line(audit, "causality_audit.json")
    if audit["passed"]:
        line += f" {audit['fills']['num_fills']:,} fills checked against the prices table."
    command = escape(FollowUp.command("audit"))
    return f"{line}\n{FULL_AUDIT[audit['full_audit']].format(command=command)}"


def print_full_audit(audit: dict[str, Any], data_dir: Path) -> None:
    """Print what was compared at each cut, and the verdict."""
    console = Console()
    table = Table(title="Full audit: the source cut, everything after it anew")
    for column in ("cut at (UTC)", "fitted", "prompts", "decisions", "fills", "differences"):
        table.add_column(column, justify="right", no_wrap=True)
    for check in audit["checks"]:
        compared = (check["compared"][name] for name in ("fitted", "prompts", "decisions", "fills"))
        table.add_row(check["known_at"][:16].replace("T", " "), *map(str, compared), str(check["num_differences"]))
    console.print(table)
    verdict = "[bold green]Passed[/bold green]" if audit["passed"] else "[bold red]FAILED[/bold red]"
    console.print(
        f"{verdict}: {audit['backbone']} on {escape(audit['market'])}, with {audit['total_timesteps']:,} "
        "account-decisions a training.",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"  all figures      {data_dir / '08_reporting' / 'full_audit.json'}", highlight=False)
