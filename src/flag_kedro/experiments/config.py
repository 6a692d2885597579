"""Parameters of what does not belong to one run: audits, certificates, folds, sweeps, diagnostics; their limits."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from flag_kedro.data.config import Symbols, split_tokens
from flag_kedro.data.headlines import COMPANIES
from flag_kedro.data.simulated.config import Preset

AUDITED_CODE = ("experiments", "pipelines/ingest", "pipelines/features", "pipelines/training")
"""Folders of which the full audit, with all that they import, is the audit."""
MIN_SHARE = 0.8
"""Of the oracle's log return, that a certificate asks for in the median."""
CENTRAL = 0.05, 0.95
"""Percentiles between which a twin's log return counts as chance."""
Seed = Annotated[int, Field(ge=0)]


def refuse_repeated(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuse what is given twice, however it is written."""
    if len(set(values)) < len(values):
        raise ValueError(f"one is given twice in {' '.join(map(str, values))}")
    return values


Seeds = Annotated[tuple[Seed, ...], BeforeValidator(split_tokens), Field(min_length=1), AfterValidator(refuse_repeated)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class CertifyConfig:
    """The learnability certificate: fresh simulated markets, each with its no-signal twin."""

    language: bool = False
    """Certify that having read matters: a pretrained language model beside readers that have read nothing, on markets
    whose wordings are new in each window; see `experiments.language_profile`."""
    seeds: Seeds = tuple(range(1, 10))
    """Of markets and trainings; fewer than five informative ones certify nothing. Of these nine, four say nothing."""
    symbols: Annotated[Symbols, AfterValidator(refuse_repeated)] = tuple(COMPANIES)
    """Symbols of each market."""
    market: Preset = "easy"
    """Preset of the markets, without drift, instead of `simulated.market`; what else of `simulated` is given counts."""
    digest_sessions: int = Field(default=3, ge=1, le=60)
    """Sessions of news in its prompts instead of `features.digest_sessions`: as many as a headline of `easy` moves."""
    total_timesteps: int = Field(default=80_000, ge=1)
    """Account-decisions of each training; the rest of the learner is the run's `ppo`."""
    patience: int | None = Field(default=3, ge=1)
    """Validations without a new best after which a training stops, as `ppo.patience`."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class AuditConfig:
    """The full audit: everything from the source on, made anew without what became known later."""

    times: int = Field(default=2, ge=1)
    """Sessions of the test window at whose close the source is cut; each costs a training."""
    total_timesteps: int = Field(default=3_840, ge=1)
    """Account-decisions of each training, or those of the run where it has fewer."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class WalkForwardConfig:
    """Folds that roll over the market's sessions, each with a training, a validation and a test window."""

    train_sessions: int = Field(default=504, ge=2)
    """Sessions that a fold learns from."""
    validation_sessions: int = Field(default=126, ge=2)
    """Sessions after them, which choose the weights."""
    test_sessions: int = Field(default=126, ge=2)
    """Sessions after those, which are traded once; folds lie this far apart, so that test windows are adjacent."""
    folds: int | None = Field(default=None, ge=1)
    """Folds, from the first session on; null takes as many as fit."""


def chosen_seeds(seeds: Any, seed: int) -> tuple[int, ...]:
    """`seeds` as YAML or the command line gives them, or `seed` alone where they are null."""
    return (seed,) if seeds is None else TypeAdapter(Seeds).validate_python(seeds)


def split_grid(value: Any) -> Any:
    """Accept groups inside groups as well as dotted paths, and values separated by blanks as well as lists."""
    if not isinstance(value, Mapping):
        return value
    flat: dict[str, Any] = {}
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            flat |= {f"{name}.{path}": values for path, values in split_grid(inner).items()}
        elif isinstance(inner, str):
            flat[name] = tuple(None if token == "null" else token for token in inner.split())
        else:
            flat[name] = tuple(inner) if isinstance(inner, (list, tuple)) else (inner,)
    return flat


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SweepConfig:
    """Which parameters are tried, and who chooses the next ones."""

    grid: Annotated[dict[str, tuple[Any, ...]], BeforeValidator(split_grid)] = Field(default_factory=dict)
    """Paths of `ppo.*`, `policy.*` or `env.*` to the values to try, every one with every other; on the command line
    sweep.grid.ppo.learning_rate=0.001 0.003,sweep.grid.policy.lora_rank=8 16. A sampler draws from them."""
    sampler: Literal["grid", "tpe", "random"] = "grid"
    """`grid` tries all of `grid`; `tpe` (a tree-structured Parzen estimator) and `random` are Optuna's and draw
    `trials` combinations from `grid` and `ranges` (`pip install 'flag_kedro[search]'`)."""
    ranges: Annotated[dict[str, tuple[Any, ...]], BeforeValidator(split_grid)] = Field(default_factory=dict)
    """For a sampler, paths to LOW HIGH, both included, or LOW HIGH log for a logarithmic scale; whole numbers stay
    whole: sweep.ranges.ppo.learning_rate=1e-4 1e-2 log."""
    trials: int | None = Field(default=None, ge=1)
    """Combinations that a sampler tries, each with every seed; it must be given."""
    batch: int = Field(default=4, ge=1)
    """Combinations that a sampler asks for before it is told what they earned, so many can be trained side by side.
    What is tried depends on it, never on how many there really are."""
    prune: Literal["none", "median"] = "none"
    """`median` stops a training whose best validation log return so far is below the median of those of earlier
    batches after as many account-decisions (Optuna's MedianPruner), each seed beside the same seed."""
    prune_startup_trials: int = Field(default=5, ge=1)
    """Whole trainings of a seed before one is stopped."""
    prune_warmup: int = Field(default=0, ge=0)
    """Account-decisions that every training gets."""
    storage: str | None = None
    """A database that keeps what was tried where others see it, as SQLAlchemy's URL without a password, such as
    postgresql://user@host/db; null: a file beside the rows of finished trainings, gone with them at the end."""

    def __post_init__(self) -> None:
        if self.sampler == "grid":
            given = [name for name in ("ranges", "trials", "storage") if getattr(self, name)]
            given += ["prune"] if self.prune != "none" else []
            if given:
                raise ValueError(
                    f"sweep.{given[0]} is not read by a grid; set sweep.sampler=tpe or random, or leave it out"
                )
        elif self.trials is None:
            raise ValueError(f"sweep.sampler={self.sampler} needs sweep.trials, how many combinations to try")
        elif twice := sorted(set(self.grid) & set(self.ranges)):
            raise ValueError(f"sweep.grid and sweep.ranges both have {twice[0]}; leave one of them out")
        if self.storage is not None and urlsplit(self.storage).password is not None:
            raise ValueError(
                "sweep.storage has a password, which would be kept with the run's parameters; leave it out and give "
                "it by the environment variable PGPASSWORD or in ~/.pgpass"
            )


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ContaminationConfig:
    """What is asked about a backbone that may have read the market's history."""

    model_cutoff: date | None = None
    """Last day of the text that the backbone learned from; null takes what is known of published models, and else
    counts every session as seen."""
    probe_samples: int = Field(default=200, ge=5)
    """Statements about closes in each window."""
    alternatives: int = Field(default=9, ge=1, le=50)
    """Closes of other sessions nearby that each true one is compared with."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class RobustnessConfig:
    """How a policy is tried with hostile headlines."""

    headlines: int = Field(default=200, ge=1)
    """Hostile headlines, dealt out over all families in turn."""
