"""Several trainings in sequence or side by side, each a run of its own below the command's, none done twice."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flag_kedro.experiments.scoring import Row, RunSettings
from flag_kedro.pipelines.progress import log_update, progress_bar
from flag_kedro.ppo.runtime import RuntimeConfig
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
    work: "partial[Row]"
    """Called with what to call after each update, does it and returns its row with a `history`."""
    report: Callable[[Row], None]
    """Logs what came out to the active run and says it in a line."""
    here: bool = False
    """Whether this process does it in any case, since it needs files of this machine and takes seconds."""


def train_all(
    title: str, trainings: Sequence[QueuedTraining], finished: "FinishedRows", runtime: RuntimeConfig
) -> list[Row]:
    """Do `trainings`, but for those whose rows an interrupted run left behind, and return all rows in their order.

    Every row, left behind or new, gets a child run with its whole curves. A row is written as soon as it is there.

    Args:
        title: of the progress bar.
        trainings: with distinct names.
        finished: the rows of the experiment.
        runtime: its `engine` does them: one after another here, or side by side on Ray. Rows are the same.
    """
    if runtime.engine == "ray":
        return _train_on_ray(title, trainings, finished, runtime)
    rows = []
    with progress_bar(title, len(trainings)) as advance:
        for at, training in enumerate(trainings, 1):
            on_update = partial(_follow, advance, training.num_updates)
            earlier = finished.get(training.name)
            state = "" if earlier is None else " (known already)"
            logger.info("%s %d of %d: %s%s", title, at, len(trainings), training.run_name, state)
            with child_run(training.run_name, training.params, {} if earlier is None else {"trained": "earlier"}):
                if earlier is None:
                    row = finished.put(training.name, _with_own_state(training)(on_update))
                else:
                    row = earlier
                    for update in row["history"]:
                        on_update(update)
                training.report(row)
            advance(max(0.0, 1 - len(row["history"]) / training.num_updates))
            rows.append(row)
    return rows


def _train_on_ray(
    title: str, trainings: Sequence[QueuedTraining], finished: "FinishedRows", runtime: RuntimeConfig
) -> list[Row]:
    """As `train_all`; curves are logged when a training is done, in the order in which that happens."""
    from flag_kedro.experiments.fan_out import Task, fan_out

    rows: dict[str, Row] = {}
    with progress_bar(title, len(trainings)) as advance:

        def keep(training: QueuedTraining, row: Row, tags: Mapping[str, str] | None = None) -> None:
            state = "known already" if tags else "done"
            logger.info("%s %d of %d: %s %s", title, len(rows) + 1, len(trainings), training.run_name, state)
            with child_run(training.run_name, training.params, tags):
                for update in row["history"]:
                    log_update(update)
                training.report(row)
            rows[training.name] = row
            advance()

        remote = []
        for training in trainings:
            earlier = finished.get(training.name)
            if earlier is not None:
                keep(training, earlier, {"trained": "earlier"})
            elif training.here:
                keep(training, finished.put(training.name, training.work(_ignore)))
            else:
                remote.append(training)
        tasks = [Task(training.run_name, _followed(training)) for training in remote]
        with closing(fan_out(tasks, runtime, partial(advance, 0))) as results:
            for index, row in results:
                keep(remote[index], finished.put(remote[index].name, row))
    return [rows[training.name] for training in trainings]


def _with_own_state(training: QueuedTraining) -> "partial[Row]":
    """Its work, with a folder of checkpoints that no other training uses."""
    from flag_kedro.experiments.runs import Shared

    work = training.work
    own = [argument.of(training.name) if isinstance(argument, Shared) else argument for argument in work.args]
    return partial(work.func, *own, **work.keywords)


def _followed(training: QueuedTraining) -> "partial[Row]":
    """Its work to the end: nobody follows the updates of a training on another machine."""
    work = _with_own_state(training)
    return partial(work.func, *work.args, _ignore, **work.keywords)


def _ignore(update: Mapping[str, float]) -> None:
    """Follow nothing."""


def _follow(advance: Callable[..., None], num_updates: int, update: Mapping[str, float]) -> None:
    """Log one update and move the bar by its share of a training."""
    log_update(update)
    advance(1 / num_updates)
