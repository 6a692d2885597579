"""Several trainings in sequence, each a run of its own below the command's, none done twice."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flag_kedro.experiments.scoring import Row, RunSettings
from flag_kedro.pipelines.progress import log_update, progress_bar
from flag_kedro.ppo.history import OnUpdate
from flag_kedro.tracking.children import child_run
from flag_kedro.tracking.log import run_id

if TYPE_CHECKING:  # imports torch
    from flag_kedro.experiments.finished import FinishedRows
    from flag_kedro.experiments.runs import Shared

logger = logging.getLogger(__name__)


def open_experiment(
    root: Path, facts: Mapping[str, Any], backbone: Path, trunk_rows: Path, settings: RunSettings
) -> "tuple[FinishedRows, Shared]":
    """Where rows of an experiment wait, and what its trainings share.

    Args:
        root: folder of all experiments of this kind.
        facts: of data, windows and backbone, fit for JSON; with the settings, all that rows depend on.
        backbone: its folder; not read for `tiny`.
        trunk_rows: folder of what the trunk says.
        settings: the parameters.
    """
    from flag_kedro.experiments.finished import FinishedRows, experiment_key
    from flag_kedro.experiments.runs import Shared

    key = experiment_key({**facts, "env": settings.env.facts()}, settings.policy, settings.ppo, settings.runtime)
    finished = FinishedRows(root, key, resume=settings.ppo.resume == "auto")
    return finished, Shared(backbone, trunk_rows, finished.checkpoints, run_id())


@dataclass(frozen=True)
class QueuedTraining:
    """One training to be done."""

    name: str
    """Unique in its experiment; also the name of its row's file."""
    run_name: str
    """What its run is called in MLflow."""
    params: Mapping[str, object]
    """For its run."""
    num_updates: int
    """That its budget pays for."""
    work: Callable[[OnUpdate], Row]
    """Does it, calling back after each update, and returns its row with a `history`."""
    report: Callable[[Row], None]
    """Logs what came out to the active run and says it in a line."""


def train_all(title: str, trainings: Sequence[QueuedTraining], finished: "FinishedRows") -> list[Row]:
    """Do `trainings` in sequence, but for those whose rows an interrupted run left behind, and return all rows.

    Every row, left behind or new, gets a child run with its whole curves. A row is written as soon as it is there.
    """
    rows = []
    with progress_bar(title, len(trainings)) as advance:
        for at, training in enumerate(trainings, 1):
            on_update = partial(_follow, advance, training.num_updates)
            earlier = finished.get(training.name)
            state = "" if earlier is None else " (known already)"
            logger.info("%s %d of %d: %s%s", title, at, len(trainings), training.run_name, state)
            with child_run(training.run_name, training.params, {} if earlier is None else {"trained": "earlier"}):
                if earlier is None:
                    row = finished.put(training.name, training.work(on_update))
                else:
                    row = earlier
                    for update in row["history"]:
                        on_update(update)
                training.report(row)
            advance(max(0.0, 1 - len(row["history"]) / training.num_updates))
            rows.append(row)
    return rows


def _follow(advance: Callable[..., None], num_updates: int, update: Mapping[str, float]) -> None:
    """Log one update and move the bar by its share of a training."""
    log_update(update)
    advance(1 / num_updates)
