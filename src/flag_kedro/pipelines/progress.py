"""Progress of long nodes: bars, or lines in the log where there is no terminal, and the metrics of updates."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from flag_kedro.tracking.interrupts import stop_if_asked
from flag_kedro.tracking.log import log_metrics

logger = logging.getLogger(__name__)
SECONDS_BETWEEN_LINES = 30.0
"""Where there is no terminal; quick work says nothing."""


def bar(title: str, *columns: ProgressColumn) -> Progress:
    """A bar on stderr, silent where there is no terminal, with more `columns` behind the usual ones."""
    console = Console(stderr=True)
    usual = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*usual, *columns, console=console, disable=not console.is_terminal)


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Callable[..., None]]:
    """Show a bar of `total` steps on stderr and yield what advances it, by one or by the number given.

    Without a terminal the log says every half a minute how far it is.

    Raises:
        RunInterrupted: in what is yielded, when the run shall stop.
    """
    with bar(title) as progress:
        task = progress.add_task(title, total=total)
        said = time.monotonic()

        def advance(steps: float = 1) -> None:
            nonlocal said
            progress.advance(task, steps)
            if progress.disable and time.monotonic() - said >= SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                logger.info("%s: %.0f of %d", title, progress.tasks[0].completed, total)
            stop_if_asked()

        yield advance


def log_update(row: Mapping[str, float]) -> None:
    """Log the metrics of one update to the active run, at its step.

    Raises:
        RunInterrupted: when the run shall stop.
    """
    metrics = {name: value for name, value in row.items() if name != "step"}
    log_metrics(metrics, int(row["step"]), int(time.time() * 1000))
    stop_if_asked()
