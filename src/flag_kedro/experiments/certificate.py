"""The learnability certificate: does the learner find a signal that is there, and none that is not?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from flag_kedro.experiments.config import CENTRAL, MIN_SHARE

MIN_SEEDS = 5
MIN_CLEAN_TWINS = 0.8


@dataclass(frozen=True, kw_only=True)
class CertificateRun:
    """One seed's market or its no-signal twin, and what the policy trained on it earned; saved as JSON in this order.

    Log returns are sums over symbols of the held-out window. What comes after `informative` is None, and the curve
    empty, for an uninformative market, on which nothing is trained.
    """

    seed: int
    planted: bool
    """Whether headlines move prices; else it is the twin."""
    oracle_log_return: float
    """On the planted market, for the twin too, as the next three."""
    oracle_t: float
    buy_and_hold_share: float
    informative: bool
    log_return: float | None = None
    """Of the policy."""
    share: float | None = None
    """Of the oracle's log return; None in the twin."""
    shift_percentile: float | None = None
    """Of its log return among those of its path shifted in time, in [0, 1]; None for a path that never changes."""
    exposure: float | None = None
    """Share of sessions with a position."""
    curve: list[dict[str, float]] = field(default_factory=list)
    """`step` and `validation_log_return` of each validation."""
    seconds: float | None = None
    """Wall time."""


@dataclass(frozen=True, kw_only=True)
class TwinRun(CertificateRun):
    """A twin, and whether its return looks like chance."""

    clean: bool


@dataclass(frozen=True)
class Certificate:
    """The verdict, and the runs on informative markets by seed; saved as JSON in this order."""

    passed: bool
    reasons: list[str]
    """Why not, in words."""
    oracle_share_median: float | None
    """Of the planted markets; None where none was informative."""
    oracle_shares: dict[str, float]
    """By seed."""
    clean_twins: float | None
    """Share of the twins that look like chance."""
    uninformative_seeds: list[int]
    """Of markets that say nothing and so were not trained on."""
    signal: list[CertificateRun]
    """On planted markets."""
    twins: list[TwinRun]
    key: str = ""
    """Of the experiment, see `finished.experiment_key`."""

    @classmethod
    def from_json(cls, certificate: Mapping[str, Any]) -> "Certificate":
        """The certificate as it was saved by `dataclasses.asdict`."""
        signal = [CertificateRun(**run) for run in certificate["signal"]]
        return cls(**{**certificate, "signal": signal, "twins": [TwinRun(**twin) for twin in certificate["twins"]]})


def certify(runs: Sequence[CertificateRun]) -> Certificate:
    """Compare the runs of all markets, in any order, to what a certificate asks for."""
    informative = sorted((run for run in runs if run.informative), key=lambda run: run.seed)
    signal = [run for run in informative if run.planted]
    twins = [TwinRun(**vars(run), clean=_is_clean(run)) for run in informative if not run.planted]
    shares = {str(run.seed): run.share for run in signal if run.share is not None}
    share_median = median(shares.values()) if shares else None
    clean_share = sum(twin.clean for twin in twins) / len(twins) if twins else None
    reasons = _reasons_against(min(len(signal), len(twins)), share_median, clean_share)
    return Certificate(
        passed=not reasons,
        reasons=reasons,
        oracle_share_median=share_median,
        oracle_shares=shares,
        clean_twins=clean_share,
        uninformative_seeds=sorted(run.seed for run in runs if run.planted and not run.informative),
        signal=signal,
        twins=twins,
    )


def _reasons_against(num_seeds: int, share_median: float | None, clean_share: float | None) -> list[str]:
    """In words, which of the three conditions are not met."""
    reasons = []
    if num_seeds < MIN_SEEDS:
        reasons.append(f"{num_seeds} informative seeds, at least {MIN_SEEDS} are needed")
    if share_median is None or share_median < MIN_SHARE:
        reasons.append(
            f"median share of the oracle's log return {share_median or 0.0:.2f}, at least {MIN_SHARE} is asked for"
        )
    if clean_share is None or clean_share < MIN_CLEAN_TWINS:
        reasons.append(
            f"{clean_share or 0.0:.0%} of the twins look like chance, at least {MIN_CLEAN_TWINS:.0%} are asked for"
        )
    return reasons


def _is_clean(run: CertificateRun) -> bool:
    """Whether a twin's return lies among those of its shifts; a path that never changes does."""
    percentile = run.shift_percentile
    return percentile is None or CENTRAL[0] <= percentile <= CENTRAL[1]
