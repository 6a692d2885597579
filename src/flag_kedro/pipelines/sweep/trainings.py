"""Trainings of a sweep: each chosen and scored on validation, recorded as an attempt on the test window."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from flag_kedro.backtest.trials import ValidatedTrial, attempt_hash, paths_before
from flag_kedro.errors import DivergedError
from flag_kedro.experiments.folds import Fold
from flag_kedro.experiments.scoring import Row, RunSettings
from flag_kedro.experiments.sweep import FAILED, Combination
from flag_kedro.names import BEST_VALIDATION_LOG_RETURN, TINY
from flag_kedro.pipelines.trainings import QueuedTraining, train_all
from flag_kedro.ppo.history import Metrics, OnUpdate, pruned_at, without_wall_times
from flag_kedro.tracking.log import log_metrics, set_tags
from flag_kedro.tracking.scores import flatten_scores
from flag_kedro.tracking.trials import record_attempt

if TYPE_CHECKING:  # imports torch
    from flag_kedro.experiments.finished import FinishedRows
    from flag_kedro.experiments.runs import Shared
    from flag_kedro.experiments.search import Floors

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepTrainings:
    """What all trainings of a sweep share."""

    states: Mapping[str, pl.DataFrame]
    """Market states without those of the test window."""
    fold: Fold
    base: RunSettings
    """The run's own parameters."""
    seeds: Sequence[int]
    """Of every combination."""
    facts: Mapping[str, Any]
    """Of the data, see `runs.run_validation`."""
    shared: "Shared"
    finished: "FinishedRows"
    keep_failed: bool = False
    """Whether a training in which learning goes wrong has a row that says so, instead of ending all."""

    def train(self, title: str, combinations: Sequence[Combination], floors: "Floors") -> list[list[Row]]:
        """The rows of each of `combinations`, one for each seed; see `experiments.search.Train`."""
        trainings = [self._queue(each, seed, floors.get(seed, {})) for each in combinations for seed in self.seeds]
        rows, num = train_all(title, trainings, self.finished, self.base.runtime), len(self.seeds)
        return [rows[at : at + num] for at in range(0, len(rows), num)]

    def _queue(self, combination: Combination, seed: int, floors: Mapping[int, float]) -> QueuedTraining:
        settings = replace(self.base, env=combination.env, policy=combination.policy, ppo=combination.ppo)
        return QueuedTraining(
            name=f"{combination.name}-{seed}",
            run_name=f"{combination.as_params} seed {seed}",
            params={**combination.values, "seed": seed},
            num_updates=combination.ppo.num_updates(len(self.states)),
            work=partial(
                validate,
                self.states,
                self.fold,
                seed,
                settings,
                self.shared,
                self.facts,
                floors=dict(floors),
                keep_failed=self.keep_failed,
            ),
            report=_report,
        )


def validate(
    states: Mapping[str, pl.DataFrame],
    fold: Fold,
    seed: int,
    settings: RunSettings,
    shared: "Shared",
    facts: Mapping[str, Any],
    on_update: OnUpdate,
    *,
    floors: Mapping[int, float],
    keep_failed: bool = False,
) -> Row:
    """The row of a training, and what later backtests of the test window must know of it.

    Of one in which learning went wrong, if that is kept, the row has `sweep.FAILED` and the updates before.

    Raises:
        DivergedError: when learning went wrong and that is not kept.
    """
    from flag_kedro.experiments.runs import run_validation
    from flag_kedro.policy.backbone import backbone_hash
    from flag_kedro.policy.bundle import portable_name

    history: list[Metrics] = []

    def follow(update: Mapping[str, float]) -> None:
        history.append(without_wall_times(update))
        on_update(update)

    try:
        run = run_validation(states, fold, seed, settings, shared, facts=facts, on_update=follow, floors=floors)
    except DivergedError as error:
        if not keep_failed:
            raise
        return {"seed": seed, "windows": fold.as_text(), FAILED: str(error), "history": history}
    description = {
        **facts,
        "policy": asdict(settings.policy) | {"backbone": portable_name(settings.policy)},
        "ppo": settings.ppo.learning(),
        "env": settings.env.facts(),
        "windows": fold.as_text(),
        "seed": seed,
    }
    if settings.policy.backbone != TINY:
        assert shared.backbone is not None
        description["backbone_hash"] = backbone_hash(shared.backbone)
    test = dates_of_test(fold)
    attempt = ValidatedTrial(
        attempt_hash(description, states, test), run.validation_sharpes, paths_before(states, test)
    )
    return asdict(run) | {"attempt": asdict(attempt)}


def _report(row: Row) -> None:
    if FAILED in row:
        set_tags({"failed_at": f"update {len(row['history']) + 1}"})
        logger.warning("seed %d failed and is never chosen: %s", row["seed"], row[FAILED])
        return
    scores = {
        name.replace("backtest/", "validation/", 1): value
        for name, value in flatten_scores(row["validation_scores"]).items()
    }
    best = {BEST_VALIDATION_LOG_RETURN: row["validation_log_return"]}
    log_metrics(scores | best, 0, int(time.time() * 1000))
    record_attempt(ValidatedTrial.from_json(row["attempt"]), " ".join(row["windows"]["test"]))
    stopped, said = pruned_at(row["history"]), ""
    if stopped is not None:
        set_tags({"pruned_at": f"update {stopped}"})
        said = f"; pruned after update {stopped}"
    logger.info("seed %d: best log return on validation %+.3f%s", row["seed"], row["validation_log_return"], said)


def dates_of_test(fold: Fold) -> tuple[str, str]:
    """First and last ISO date of the test window."""
    return fold.test[0].isoformat(), fold.test[1].isoformat()
