"""What experiments of several trainings print at their end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flag_kedro.backtest.measured_sizes import size_note
from flag_kedro.hooks.command import FollowUp
from flag_kedro.hooks.summaries.figures import figure, interval, percent
from flag_kedro.names import ALL_SYMBOLS, BENCHMARK, POLICY


def print_walk_forward(results: dict[str, Any], data_dir: Path) -> None:
    """Print the out-of-sample path of every symbol beside buy and hold, and where everything is."""
    console = Console()
    seeds = sorted({row["seed"] for row in results["rows"]})
    folds = list(results["summary"][ALL_SYMBOLS]["folds"])
    table = Table(
        title=f"Walk-forward: {len(folds)} fold(s), seed(s) {' '.join(map(str, seeds))}",
        caption=(
            "Folds strung together, mean over seeds of daily log returns, account after costs.\n"
            "95 %: of the Sharpe ratio, by bootstrap. p: of no difference to buy and hold's.\n"
            "seeds: range of their own Sharpe ratios."
        ),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for column in ("symbol", "strategy"):
        table.add_column(column, no_wrap=True)
    for column in ("CR %", "Sharpe", "95 %", "MDD %", "p", "seeds"):
        table.add_column(column, justify="right", no_wrap=True)
    for symbol, row in results["summary"].items():
        for strategy in (POLICY, BENCHMARK):
            is_policy = strategy == POLICY
            scores = row["strategies"][strategy]
            table.add_row(
                symbol if is_policy else "",
                strategy,
                percent(scores["cumulative_return"], 2),
                figure(scores["sharpe_ratio"]),
                interval(scores["sharpe_ratio_ci95"], 1),
                percent(scores["max_drawdown"], 2),
                figure(row["sharpe_difference"]["p_value"]) if is_policy else "",
                _spread(row["seeds"]["sharpe_ratio"]) if is_policy else "",
                style="bold" if is_policy else None,
            )
    console.print(table)
    _say_collapsed(console, results["rows"])
    console.print(size_note(results["summary"][ALL_SYMBOLS]["num_returns"]), highlight=False)
    console.print(f"  all figures      {data_dir / '08_reporting' / 'walk_forward.json'}", highlight=False)
    console.print("  each training    make ui         (kedro mlflow ui)")


def _spread(seeds: dict[str, Any] | None) -> str:
    return "-" if seeds is None else interval([seeds["min"], seeds["max"]], 1)


def print_seeds(results: dict[str, Any], data_dir: Path) -> None:
    """Print what the seeds of one configuration earned on the test window, beside buy and hold, if there were any."""
    if not results:
        return
    console = Console()
    table = Table(
        title=f"Seeds {' '.join(map(str, results['seeds']))} on the test window",
        caption="IQM: mean without the lowest and the highest quarter, of four seeds or more. Account after costs.",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("symbol", no_wrap=True)
    table.add_column("score", no_wrap=True)
    for column in ("median", "IQM", "range", "buy and hold"):
        table.add_column(column, justify="right", no_wrap=True)
    for symbol, row in results["summary"].items():
        for metric, label, factor in (("cumulative_return", "CR %", 100.0), ("sharpe_ratio", "Sharpe", 1.0)):
            seeds, held = row[POLICY][metric], row[BENCHMARK][metric]
            spread = ["-", "-", "-"]
            if seeds is not None:
                spread = [figure(seeds[name], 2, factor) for name in ("median", "interquartile_mean")]
                spread.append(interval([factor * seeds["min"], factor * seeds["max"]]))
            table.add_row(symbol if label == "CR %" else "", label, *spread, figure(held, 2, factor))
    console.print(table)
    _say_collapsed(console, results["rows"])
    console.print(f"  all seeds        {data_dir / '08_reporting' / 'seeds.json'}", highlight=False)


def _say_collapsed(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Name the trainings whose policy always held one position, if there are any."""
    folds = len({row["fold"] for row in rows}) > 1
    for position in sorted({row["collapsed_to"] for row in rows} - {None}):
        held = [row for row in rows if row["collapsed_to"] == position]
        names = [f"seed {row['seed']}" + (f" of fold {row['fold']}" if folds else "") for row in held]
        console.print(
            f"[yellow]Always {_position(position)}, so no skill at timing: {', '.join(names)}.[/yellow]",
            highlight=False,
        )


def _position(collapsed_to: str) -> str:
    """Of `collapse.POSITIONS`, as a word."""
    return {BENCHMARK: "long"}.get(collapsed_to, collapsed_to)


def _constant(collapsed: dict[str, str], num: int) -> str:
    """Which constant position policies held, and in how many of the seeds; empty where all of them decide."""
    held = sorted({f"always {_position(position)}" for position in collapsed.values()})
    return "" if not held else f"{' or '.join(held)} in {len(collapsed)} of {num} seed(s)"


def _stopped(combination: Mapping[str, Any]) -> str:
    """After which updates trainings of a combination were pruned; empty where none was."""
    updates = sorted(set(combination.get("pruned_at", {}).values()))
    if not updates:
        return ""
    stopped = "pruned" if combination["pruned"] else f"{len(combination['pruned_at'])} seed(s) pruned"
    return f"{stopped} at update {' '.join(map(str, updates))}"


def _print_search(console: Console, search: Mapping[str, Any]) -> None:
    """Say how many trials there were, how many of them were pruned, and what mattered."""
    repeated = search["num_trials"] - search["num_combinations"]
    again = f", {repeated} of them proposed before" if repeated else ""
    console.print(
        f"[bold]{search['num_trials']} trials[/bold] by {search['sampler']}{again}; {search['num_pruned']} pruned, "
        f"{search['num_failed']} failed. All that did not fail count in later deflated Sharpe ratios.",
        highlight=False,
    )
    if search["importances"]:
        shares = ", ".join(f"{path} {100.0 * share:.0f} %" for path, share in search["importances"].items())
        console.print(f"What mattered among whole trainings (PED-ANOVA): {shares}", highlight=False)


def print_sweep(results: dict[str, Any], data_dir: Path) -> None:
    """Print every combination, the best first, and the best one as parameters."""
    console = Console()
    first, last = results["windows"]["validation"]
    table = Table(
        title=f"Sweep: log return on validation, {first} to {last}, seed(s) {' '.join(map(str, results['seeds']))}",
        caption="Sum over symbols, of each seed's best weights. The test window was not read.",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("parameters")
    for column in ("median", "range"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    for at, row in enumerate(results["combinations"]):
        scores = row["validation_log_return"]
        spread = interval([scores["min"], scores["max"]])
        params, notes = row["params"].replace(",", " "), [_constant(row["collapsed"], scores["num"]), _stopped(row)]
        note = "; ".join(filter(None, notes))
        table.add_row(params, f"{scores['median']:+.3f}", spread, note, style="bold" if at == 0 else None)
    console.print(table)
    if "search" in results:
        _print_search(console, results["search"])
    if (constant := _constant(results["combinations"][0]["collapsed"], len(results["seeds"]))) != "":
        console.print(
            f"[yellow]The first one has learned nothing from what it reads: {constant}. It is first because the others "
            "earned less; try more of ppo.ent_coef or ppo.total_timesteps.[/yellow]",
            highlight=False,
        )
    console.print("[bold]Best[/bold], to be added to the parameters of a run:")
    best = dict(part.split("=", 1) for part in results["best"].split(",") if part)
    console.print(f"  {escape(FollowUp.command(**best))}", highlight=False, soft_wrap=True)
    reports = data_dir / "08_reporting"
    console.print(f"  all figures      {reports / 'sweep.json'}", highlight=False)
    console.print(f"  return and risk  {reports / 'sweep_frontier_plot.json'}  (make viz shows it)", highlight=False)
