"""Following a training: a progress bar, log lines where there is no terminal, and MLflow."""

import logging
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

from flag_kedro.pipelines.progress import log_update
from flag_kedro.ppo.history import ENTROPY, VALIDATION

logger = logging.getLogger(__name__)
LOG_LINES = 10
"""Log lines of a training without a terminal."""


def follow(updates: Iterator[dict[str, float]], num_updates: int) -> list[dict[str, float]]:
    """Drain `updates`, showing and logging each; return all rows."""
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
            history.append(row)
            score = row.get(VALIDATION)
            best = score if best is None or (score is not None and score > best) else best
            shown = f"entropy {row[ENTROPY]:.2f}" + (
                "" if best is None else f", best validation log return {best:+.2f}"
            )
            progress.update(task, advance=1, description=shown)
            log_update(row)
            if progress.disable and len(history) % max(1, num_updates // LOG_LINES) == 0:
                logger.info("update %d of %d: %s", len(history), num_updates, shown)
    logger.info("trained for %d updates; %s", len(history), shown)
    return history
