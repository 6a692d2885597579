"""The language certificate: does having read matter, where the wording is new?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from scipy.stats import t as student

from flag_kedro.experiments.certificate import MIN_CLEAN_TWINS, MIN_SEEDS
from flag_kedro.experiments.config import CENTRAL
from flag_kedro.experiments.language_run import ENCODER_RIDGE, READERS, LanguageRun
from flag_kedro.experiments.reading import MOVING_LEVELS, Reading
from flag_kedro.names import POLICY

MIN_SHARE = 0.6
"""Of what the optimal policy expects, that the certificate asks of the language model in the median."""
MAX_RIVAL_SHARE = 0.5
"""Of the language model's median share, that readers without pretraining may take."""
JUDGED = tuple(reader for reader in READERS if reader not in (POLICY, ENCODER_RIDGE))
"""Readers that have read nothing before; the sentence encoder has, and is shown without a limit."""


@dataclass(frozen=True, kw_only=True)
class ReaderSummary:
    """One reader over all seeds; saved as JSON in this order."""

    reader: str
    shares: dict[str, float]
    """By seed, see `Reading.share`."""
    median_share: float
    median_earned_share: float
    """Noise included."""
    by_level: dict[str, float | None]
    """Median over the seeds that have such headlines."""
    trades_after_rivals: float | None
    behind: tuple[float, float, float] | None
    """Mean over seeds of the language model's share less this reader's, and its 95 % interval (Student's t, paired);
    None for the language model itself, or fewer than two seeds."""


@dataclass(frozen=True, kw_only=True)
class LanguageCertificate:
    """The verdict, and all runs; saved as JSON in this order."""

    kind: str = "language"
    passed: bool
    reasons: list[str]
    """Why not, in words."""
    backbone: str
    """Name of the language model's backbone."""
    readers: list[ReaderSummary]
    clean_twins: float | None
    """Share of the twins that look like chance."""
    uninformative_seeds: list[int]
    """Of markets that say nothing and so were not traded."""
    runs: list[LanguageRun]
    key: str = ""
    """Of the experiment, see `finished.experiment_key`."""

    @classmethod
    def from_json(cls, certificate: Mapping[str, Any]) -> "LanguageCertificate":
        """The certificate as it was saved by `dataclasses.asdict`."""
        readers = [ReaderSummary(**each) for each in certificate["readers"]]
        return cls(**{**certificate, "readers": readers, "runs": [run_of(row) for row in certificate["runs"]]})


def run_of(row: Mapping[str, Any]) -> LanguageRun:
    """A run as it was saved by `dataclasses.asdict`."""
    reading = row["reading"]
    return LanguageRun(**{**row, "reading": None if reading is None else Reading(**reading)})


def certify_language(
    runs: Sequence[LanguageRun], uninformative_seeds: Sequence[int], backbone: str
) -> LanguageCertificate:
    """Compare all readers on the same seeds.

    Args:
        runs: of every reader on every informative market, and of the language model on every twin.
        uninformative_seeds: of markets that were left out.
        backbone: what the language model is called.
    """
    by_reader = {
        reader: {run.seed: run.reading for run in runs if run.reader == reader and run.reading is not None}
        for reader in READERS
    }
    readings = {reader: dict(sorted(seeds.items())) for reader, seeds in by_reader.items() if seeds}
    summaries = [_summarise(reader, readings) for reader in readings]
    twins = [run for run in runs if not run.planted]
    clean = sum(_is_clean(run) for run in twins) / len(twins) if twins else None
    reasons = _reasons_against(summaries, clean)
    return LanguageCertificate(
        passed=not reasons,
        reasons=reasons,
        backbone=backbone,
        readers=summaries,
        clean_twins=clean,
        uninformative_seeds=sorted(uninformative_seeds),
        runs=sorted(runs, key=lambda run: (run.seed, READERS.index(run.reader), not run.planted)),
    )


def _summarise(reader: str, readings: Mapping[str, Mapping[int, Reading]]) -> ReaderSummary:
    own = readings[reader]
    levels = {
        level: [value for each in own.values() if (value := each.by_level[level]) is not None]
        for level in MOVING_LEVELS.values()
    }
    rivals = [each.trades_after_rivals for each in own.values() if each.trades_after_rivals is not None]
    return ReaderSummary(
        reader=reader,
        shares={str(seed): each.share for seed, each in own.items()},
        median_share=median(each.share for each in own.values()),
        median_earned_share=median(each.earned_share for each in own.values()),
        by_level={level: median(values) if values else None for level, values in levels.items()},
        trades_after_rivals=median(rivals) if rivals else None,
        behind=None if reader == POLICY else _paired_interval(readings.get(POLICY, {}), own),
    )


def _paired_interval(policy: Mapping[int, Reading], other: Mapping[int, Reading]) -> tuple[float, float, float] | None:
    """Mean difference of shares on the seeds that both have, and its 95 % interval."""
    differences = np.array([policy[seed].share - other[seed].share for seed in policy if seed in other])
    if len(differences) < 2:
        return None
    mean, error = float(differences.mean()), float(differences.std(ddof=1) / np.sqrt(len(differences)))
    half = error * float(student.ppf(0.975, len(differences) - 1))
    return mean, mean - half, mean + half


def _reasons_against(summaries: Sequence[ReaderSummary], clean: float | None) -> list[str]:
    """In words, which conditions are not met."""
    found = {summary.reader: summary for summary in summaries}
    policy = found.get(POLICY)
    num_seeds = min((len(found[reader].shares) if reader in found else 0) for reader in (POLICY, *JUDGED))
    reasons = []
    if num_seeds < MIN_SEEDS:
        reasons.append(f"{num_seeds} informative seeds of every reader, at least {MIN_SEEDS} are needed")
    share = 0.0 if policy is None else policy.median_share
    if share < MIN_SHARE:
        reasons.append(
            f"median share of what the optimal policy expects {share:.2f}, at least {MIN_SHARE} is asked for"
        )
    for reader in (reader for reader in JUDGED if reader in found):
        other = found[reader]
        if other.median_share > MAX_RIVAL_SHARE * share:
            reasons.append(f"{reader} takes {other.median_share:.2f}, at most half of the language model's is allowed")
        if other.behind is None or other.behind[1] <= 0.0:
            reasons.append(f"the interval of the language model's lead over {reader} is not above 0")
    if clean is None or clean < MIN_CLEAN_TWINS:
        reasons.append(
            f"{clean or 0.0:.0%} of the twins look like chance, at least {MIN_CLEAN_TWINS:.0%} are asked for"
        )
    return reasons


def _is_clean(run: LanguageRun) -> bool:
    """Whether a twin's return lies among those of its shifts; a path that never changes does."""
    return run.shift_percentile is None or CENTRAL[0] <= run.shift_percentile <= CENTRAL[1]
