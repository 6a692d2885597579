"""A search: Optuna proposes combinations in batches, trainings say what they earn, and the next batch knows it.

What is proposed depends on the seed, the space, the size of a batch and what earlier batches earned, never on the order
or place of trainings or on interruptions: the sampler of every trial is a new one, drawn from the seed and the trial's
number. A trial is kept whole and only once all of it is known.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from flag_kedro.data.streams import derived_seed
from flag_kedro.errors import BusyError, DataError, TrainingError
from flag_kedro.experiments.config import SweepConfig
from flag_kedro.experiments.scoring import Row
from flag_kedro.experiments.search_space import Params, SearchSpace
from flag_kedro.experiments.sweep import Combination, failure, rank
from flag_kedro.ppo.history import best_so_far, pruned_at

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger(__name__)

Floors = Mapping[int, Mapping[int, float]]
"""By seed, see `ppo.training_spec.TrainingSpec.floors`."""
Train = Callable[[str, Sequence[Combination], Floors], Sequence[Sequence[Row]]]
"""Trains combinations, under a title, with every seed, and returns the rows of each."""


@dataclass(frozen=True)
class Trial:
    """A combination that was proposed and trained."""

    params: Params
    """As Optuna keeps it."""
    combination: Combination
    rows: Sequence[Row]
    """Of `pipelines.sweep.trainings.validate`, one for each seed."""

    @property
    def failures(self) -> dict[str, str]:
        """By seed, why a training has nothing that can be compared; with one of them the trial has no value."""
        return {str(row["seed"]): why for row in self.rows if (why := failure(row)) is not None}

    @property
    def value(self) -> float | None:
        """Median over seeds of the best log return on validation; None where a training failed."""
        if self.failures:
            return None
        return float(np.median([row["validation_log_return"] for row in self.rows]))

    @property
    def pruned(self) -> bool:
        """Whether half of its trainings or more were stopped, so that `value` may be that of one that was."""
        stopped = sum(pruned_at(row["history"]) is not None for row in self.rows)
        return not self.failures and 2 * stopped >= len(self.rows)

    def curve(self) -> dict[int, float]:
        """Median over seeds of the best so far, by account-decisions, as far as all of its trainings got."""
        if self.failures:
            return {}
        curves = [best_so_far(row["history"]) for row in self.rows]
        common = sorted(set(curves[0]).intersection(*curves))
        return {step: float(np.median([curve[step] for curve in curves])) for step in common}

    def frozen(self, space: SearchSpace) -> "optuna.trial.FrozenTrial":
        """As Optuna keeps it."""
        from optuna.trial import TrialState, create_trial

        ended = TrialState.PRUNED if self.pruned else TrialState.COMPLETE
        return create_trial(
            state=TrialState.FAIL if self.failures else ended,
            value=self.value,
            params=self.params,
            distributions=space.distributions(),
            intermediate_values=self.curve(),
            user_attrs={
                "combination": self.combination.name,
                "by_seed": {
                    str(row["seed"]): row["validation_log_return"] for row in self.rows if failure(row) is None
                },
                "failures": self.failures,
            },
        )


@dataclass(frozen=True)
class Search:
    """A search before it begins."""

    space: SearchSpace
    config: SweepConfig
    seed: int
    """Of every draw."""
    study: "optuna.Study"
    """Where its trials are kept, see `search_storage.open_study`."""
    _known: dict[str, Sequence[Row]] = field(default_factory=dict)
    """Rows of every combination that was trained, by its name, in the order of trials."""

    def run(self, train: Train) -> list[Trial]:
        """Propose and train until there are `sweep.trials`; those that the study has are taken from it.

        Args:
            train: trains combinations that were not trained before; rows of an interrupted search may be at hand.

        Raises:
            BusyError: when another search adds to the same study.
            DataError: when training gives something else than what the study has.
            ValueError: when values that were drawn do not fit together.
        """
        assert self.config.trials is not None
        kept, told = self.study.get_trials(), list[Trial]()
        if kept:
            logger.info("the study has %d of %d trials already", len(kept), self.config.trials)
        while len(told) < self.config.trials:
            batch = self._propose(told, [self.space.rounded(trial.params) for trial in kept[len(told) :]])
            title = f"sweep (trials {len(told) + 1}-{len(told) + len(batch)} of {self.config.trials})"
            self._train(title, batch, train)
            for params, combination in batch:
                trial = Trial(params, combination, self._known[combination.name])
                self._keep(trial, len(told), kept)
                told.append(trial)
        return told

    def _propose(self, told: Sequence[Trial], kept: Sequence[Params]) -> list[tuple[Params, Combination]]:
        """The next batch: what the study kept of it, and new draws."""
        assert self.config.trials is not None
        size = min(self.config.batch, self.config.trials - len(told))
        batch = list(kept[:size])
        while len(batch) < size:
            batch.append(draw(self.space, self.config, self.seed, told, batch))
        return [(params, self.space.combination(params)) for params in batch]

    def _train(self, title: str, batch: Sequence[tuple[Params, Combination]], train: Train) -> None:
        """Train what is new in a batch; a combination that was drawn before has earned what it earned."""
        new = {each.name: each for _, each in batch if each.name not in self._known}
        if len(new) < len(batch):
            logger.info("%s %d of them were tried before and are not trained again", title, len(batch) - len(new))
        if new:
            self._known.update(zip(new, train(title, list(new.values()), self.floors()), strict=True))

    def rows(self) -> list[Row]:
        """Of all trainings that did not fail, each once, in the order of trials."""
        return [row for rows in self._known.values() for row in rows if failure(row) is None]

    def floors(self) -> dict[int, dict[int, float]]:
        """What a training of each seed must have earned so far, from those of earlier batches."""
        if self.config.prune == "none":
            return {}
        by_seed: dict[int, list[Row]] = {}
        for row in self.rows():
            by_seed.setdefault(row["seed"], []).append(row)
        return {seed: median_floors([row["history"] for row in rows], self.config) for seed, rows in by_seed.items()}

    def _keep(self, trial: Trial, number: int, kept: Sequence["optuna.trial.FrozenTrial"]) -> None:
        """Add a trial to the study, or compare it with what is there."""
        frozen = trial.frozen(self.space)
        if number < len(kept):
            if (kept[number].state, kept[number].value) != (frozen.state, frozen.value):
                raise DataError(
                    f"study {self.study.study_name} has {kept[number].value} for trial {number}, and its rows say "
                    f"{frozen.value}; they are not of the same search: remove the study, or name another sweep.storage"
                )
            return
        self.study.add_trial(frozen)
        if len(self.study.get_trials(deepcopy=False)) != number + 1:
            raise BusyError(
                f"another search is adding trials to study {self.study.study_name}; let one of them end, then give the "
                "same command again: it goes on from finished trainings"
            )


def draw(space: SearchSpace, config: SweepConfig, seed: int, told: Sequence[Trial], batch: Sequence[Params]) -> Params:
    """The next point, by a new sampler that knows what earlier batches earned.

    Args:
        space: what may be drawn.
        config: names the sampler.
        seed: of the search.
        told: trials of earlier batches.
        batch: points of this batch that are drawn already; what they earn is not known, and the sampler keeps away.
    """
    import optuna

    number = len(told) + len(batch)
    sampler_seed = derived_seed(seed, "sweep", number)
    sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed=sampler_seed)
    if config.sampler == "tpe":
        sampler = optuna.samplers.TPESampler(seed=sampler_seed, constant_liar=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = space.distributions()
    study.add_trials([trial.frozen(space) for trial in told])
    for params in batch:
        running = optuna.trial.TrialState.RUNNING
        study.add_trial(optuna.trial.create_trial(state=running, params=params, distributions=distributions))
    return space.rounded(study.ask(distributions).params)


def median_floors(histories: Sequence[Sequence[Mapping[str, float]]], config: SweepConfig) -> dict[int, float]:
    """By account-decisions, the log return on validation below which Optuna's MedianPruner stops a training.

    As numbers rather than as a pruner, so that a training can be pruned in any process or place, and does not depend on
    what else runs.

    Args:
        histories: metrics of every update of the trainings before it; only those that were not pruned count.
        config: of the search.
    """
    curves = [best_so_far(history) for history in histories if pruned_at(history) is None]
    if len(curves) < config.prune_startup_trials:
        return {}
    steps = sorted({step for curve in curves for step in curve if step >= config.prune_warmup})
    return {step: float(np.median([curve[step] for curve in curves if step in curve])) for step in steps}


def importances(trials: Sequence[Trial], space: SearchSpace) -> dict[str, float]:
    """How much each parameter says about what whole trials earn (PED-ANOVA), shares of 1; empty where none differ."""
    import optuna

    study = optuna.create_study(direction="maximize")
    study.add_trials([trial.frozen(space) for trial in trials if not trial.pruned and not trial.failures])
    if len({trial.value for trial in study.get_trials(deepcopy=False)}) < 2:
        return {}
    return {name: float(share) for name, share in optuna.importance.get_param_importances(study).items()}


def rank_trials(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """`sweep.rank` of what was tried, each combination once, fit for JSON; pruned ones come after all that were not.

    Each tells by seed after how many updates it was `pruned_at`, and the numbers of its `trials`. Failed ones are left
    out.

    Raises:
        TrainingError: when all of them failed.
    """
    numbers: dict[str, list[int]] = {}
    for number, trial in enumerate(trials):
        if not trial.failures:
            numbers.setdefault(trial.combination.name, []).append(number)
    if not numbers:
        seed, why = next(iter(trials[0].failures.items()))
        raise TrainingError(
            f"all {len(trials)} trials failed, the first with {trials[0].combination.as_params}, seed {seed}: {why}; "
            "give sweep.ranges and sweep.grid other values"
        )
    ranked = []
    for found in numbers.values():
        trial = trials[found[0]]
        (scored,) = rank([(trial.combination, trial.rows)])
        stops = {str(row["seed"]): pruned_at(row["history"]) for row in trial.rows}
        stopped = {seed: updates for seed, updates in stops.items() if updates is not None}
        ranked.append(asdict(scored) | {"pruned": trial.pruned, "pruned_at": stopped, "trials": found})
    return sorted(ranked, key=lambda each: (each["pruned"], -each["validation_log_return"]["median"]))


def summarise(search: Search, trials: Sequence[Trial]) -> dict[str, Any]:
    """How the search went, and each trial in its order, fit for JSON."""
    return {
        "sampler": search.config.sampler,
        "batch": search.config.batch,
        "prune": search.config.prune,
        "study": search.study.study_name,
        "num_trials": len(trials),
        "num_combinations": len({trial.combination.name for trial in trials}),
        "num_pruned": sum(trial.pruned for trial in trials),
        "num_failed": sum(bool(trial.failures) for trial in trials),
        "importances": importances(trials, search.space),
        "trials": [
            {"params": each.combination.as_params, "value": each.value, "pruned": each.pruned, "failed": each.failures}
            for each in trials
        ],
    }
