"""What the reports that doubt a policy print at their end."""

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flag_kedro.hooks.command import FollowUp
from flag_kedro.hooks.summaries.figures import figure, interval, p_value


def print_contamination(report: dict[str, Any], data_dir: Path) -> None:
    """Print what the backbone may know and recalls, window by window, and what the policy decides without."""
    console = Console()
    knowledge, memory, modalities = report["knowledge"], report["memorisation"], report["modalities"]
    console.print(_by_window(knowledge, memory))
    if not memory["applicable"]:
        console.print(f"Recall: {memory['reason']}.", highlight=False)
    _print_before_after(console, report["before_after"])
    console.print(_by_ablation(modalities))
    console.print(
        "This asks what the trained policy uses. What could be learned without it is asked by a training:\n"
        f"  {escape(FollowUp.command(features__ablation='no_news', data_dir='data/no_news'))}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"  all figures      {data_dir / '08_reporting' / 'contamination.json'}", highlight=False)


def _by_window(knowledge: dict[str, Any], memory: dict[str, Any]) -> Table:
    day, reason = knowledge["cutoff"]["day"], knowledge["cutoff"]["reason"]
    table = Table(
        title=f"What {knowledge['backbone']} may know: {'no cutoff' if day is None else f'cutoff {day}'}",
        caption=(
            f"{reason[0].upper()}{reason[1:]}.\n"
            "percentile: of true closes among others nearby, 0.5 by chance.\n"
            "AUC: of rose against fell, 0.5 by chance.\n"
            "p: of each test alone; no correction for several windows and tests."
        ),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for column in ("window", "sessions", "verdict"):
        table.add_column(column, no_wrap=True)
    for column in ("seen %", "percentile", "95 %", "p", "AUC", "p"):
        table.add_column(column, justify="right", no_wrap=True)
    for window, row in knowledge["windows"].items():
        recall = memory["windows"].get(window, {})
        closes, direction = recall.get("closes") or {}, recall.get("direction") or {}
        table.add_row(
            window,
            f"{row['first']} to {row['last']}",
            row["verdict"],
            figure(row["share_seen"], 0, 100.0),
            figure(closes.get("mean_percentile")),
            interval(closes.get("ci95"), 2),
            p_value(closes.get("p_value")),
            figure(direction.get("auc")),
            p_value(direction.get("p_value")),
        )
    return table


def _print_before_after(console: Console, before_after: dict[str, Any]) -> None:
    """Print a table of what could be compared across the cutoff, and why the rest could not."""
    measures = before_after["measures"]
    compared = {name: row for name, row in measures.items() if row["reason"] is None}
    if compared:
        console.print(_across_cutoff(before_after["cutoff"], compared))
    reasons = {f"{name}: {row['reason']}" for name, row in measures.items() if row["reason"] is not None}
    for reason in sorted(reasons) if before_after["reason"] is None else [before_after["reason"]]:
        console.print(f"Before and after the cutoff: {escape(reason)}.", highlight=False)


def _across_cutoff(cutoff: str, compared: dict[str, Any]) -> Table:
    table = Table(
        title=f"Before and after the cutoff {cutoff}",
        caption=(
            "closes, direction: percentile and AUC as above, 0.5 by chance, sessions of all windows.\n"
            "policies: % a session, less a constant position of the same mean size; 0 by chance, less costs.\n"
            "difference: before less after; above 0, as memory would have it. Bootstrap of sessions, two-sided p."
        ),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("measure", no_wrap=True)
    for column in ("sessions", "before", "95 %", "after", "95 %", "difference", "95 %", "p"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, row in compared.items():
        factor = 1.0 if name in ("closes", "direction") else 100.0
        sides = [cell for side in ("before", "after") for cell in _value_and_interval(row[side], factor)]
        sessions = f"{row['before']['num_sessions']} + {row['after']['num_sessions']}"
        difference = row["difference"]
        table.add_row(name, sessions, *sides, *_value_and_interval(difference, factor), p_value(difference["p_value"]))
    return table


def _value_and_interval(row: dict[str, Any], factor: float) -> tuple[str, str]:
    return figure(row["value"], 3, factor), interval(row["ci95"], 2, factor)


def _by_ablation(modalities: dict[str, Any]) -> Table:
    first, last = modalities["window"]
    reference = modalities["reference"]
    table = Table(
        title=f"What the trained policy uses, {first} to {last}",
        caption=(
            "CR: sum of log returns over symbols, account after costs.\n"
            f"same: share of decisions for the same position as on states as trained on ({reference}).\n"
            "difference, 95 %, p: of CR, by bootstrap of sessions."
        ),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("states", no_wrap=True)
    for column in ("CR %", "median Sharpe", "turnover", "same %", "difference", "95 %", "p"):
        table.add_column(column, justify="right", no_wrap=True)
    for kind, row in modalities["ablations"].items():
        is_reference, difference = kind == reference, row["difference"]
        table.add_row(
            kind,
            figure(row["log_return"], 2, 100.0),
            figure(row["median_sharpe_ratio"]),
            figure(row["mean_turnover"], 1),
            figure(row["same_position"], 1, 100.0),
            "" if is_reference else figure(difference["value"], 2, 100.0),
            "" if is_reference else interval(difference["ci95"], 1, 100.0),
            "" if is_reference else p_value(difference["p_value"]),
            style="bold" if is_reference else None,
        )
    return table


def print_robustness(report: dict[str, Any], data_dir: Path) -> None:
    """Print how often headlines of each family changed an action, beside harmless ones."""
    console = Console()
    first = [f"{name} {figure(report['all'][name]['share_first'], 0, 100.0)}" for name in ("hostile", "harmless")]
    table = Table(
        title=f"Robustness: {report['num_headlines']} hostile headlines, one at a time, as the newest article",
        caption=(
            "shown: after cleaning, within the budget. flips: other actions than without it.\n"
            "change: mean total variation of the probabilities.\n"
            "harmless: a neutral headline in the same place. All of them name the company.\n"
            f"First in the news: {' %, '.join(first)} %."
        ),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("family", no_wrap=True)
    for column in ("headlines", "shown %", "flips %", "change", "harmless flips %", "change"):
        table.add_column(column, justify="right", no_wrap=True)
    for family, rates in (*report["families"].items(), ("all", report["all"])):
        cells = [
            cell
            for name in ("hostile", "harmless")
            for cell in (figure(rates[name]["flip_rate"], 1, 100.0), figure(rates[name]["mean_distance"], 4))
        ]
        shown = figure(rates["hostile"]["share_shown"], 0, 100.0)
        table.add_row(family, str(rates["num_headlines"]), shown, *cells, style="bold" if family == "all" else None)
    console.print(table)
    if report["passed"]:
        console.print("[green]No headline[/green] changed another section, passed for one, or went over the budget.")
    console.print(f"  all figures      {data_dir / '08_reporting' / 'robustness.json'}", highlight=False)
