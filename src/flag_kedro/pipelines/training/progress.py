"""Following a training: a progress bar, log lines where there is no terminal, and MLflow."""

import logging
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from flag_kedro.tracking.log import log_metrics

logger = logging.getLogger(__name__)
WALL_TIMES = ("_seconds", "_per_second")
"""Endings of metrics that differ from run to run."""
LOG_LINES = 10
"""Log lines of a training without a terminal."""


def follow(updates: Iterator[dict[str, float]], num_updates: int) -> list[dict[str, float]]:
    """Drain `updates`, showing and logging each; return all rows without their wall times."""
    history: list[dict[str, float]] = []
    best = None
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=num_updates)
        for row in updates:
            history.append({name: value for name, value in row.items() if not name.endswith(WALL_TIMES)})
            score = row.get("env/validation_log_return")
            best = score if best is None or (score is not None and score > best) else best
            shown = f"entropy {row['ppo/entropy']:.2f}" + (
                "" if best is None else f", best validation log return {best:+.2f}"
            )
            progress.update(task, advance=1, description=shown)
            metrics = {name: value for name, value in row.items() if name != "step"}
            log_metrics(metrics, int(row["step"]), int(time.time() * 1000))
            if progress.disable and len(history) % max(1, num_updates // LOG_LINES) == 0:
                logger.info("update %d of %d: %s", len(history), num_updates, shown)
    logger.info("trained for %d updates; %s", len(history), shown)
    return history
