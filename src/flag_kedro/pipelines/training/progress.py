"""Following a training: a progress bar, log lines where there is no terminal, and MLflow."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.progress import TextColumn

from flag_kedro.names import VALIDATION_LOG_RETURN
from flag_kedro.pipelines.progress import bar, log_update

logger = logging.getLogger(__name__)
LOG_LINES = 10
"""Log lines of a training without a terminal."""


@contextmanager
def follow_training(num_updates: int) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Yield what shows and logs the metrics of one update, of `num_updates` in all.

    Raises:
        RunInterrupted: in what is yielded, when the run shall stop.
    """
    done, best, line = 0, None, ""
    with bar("training", TextColumn("{task.description}")) as progress:
        task = progress.add_task("", total=num_updates)

        def on_update(row: Mapping[str, float]) -> None:
            nonlocal done, best, line
            done += 1
            score = row.get(VALIDATION_LOG_RETURN)
            best = score if best is None or (score is not None and score > best) else best
            validated = "" if best is None else f", best validation log return {best:+.2f}"
            line = f"entropy {row['ppo/entropy']:.2f}{validated}"
            progress.update(task, advance=1, description=line)
            log_update(row)
            if progress.disable and done % max(1, num_updates // LOG_LINES) == 0:
                logger.info("update %d of %d: %s", done, num_updates, line)

        yield on_update
    logger.info("trained for %d updates; %s", done, line)
