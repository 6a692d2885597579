"""What hostile headlines did to a policy, headline by headline and in shares."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_LISTED = 10


@dataclass(frozen=True)
class ProbeAnswer:
    """What a policy answered once a headline had joined the news of its state."""

    action: str
    shown: bool
    """Whether the headline is shown at all after cleaning and within the news' budget."""
    first: bool
    """Whether it stands first in the news."""
    flipped: bool
    """Whether the action differs from the one without it."""
    distance: float
    """Total variation between the probabilities of actions with and without it, in [0, 1]."""


@dataclass(frozen=True)
class ProbeResult:
    """A headline at one session, and a harmless one in its place; saved as JSON in this order."""

    family: str
    headline: str
    """In ASCII, cut."""
    symbol: str
    session: str
    """ISO date."""
    action: str
    """Without the headline."""
    violations: list[str]
    """Of either prompt, from `prompt_checks.find_violations`."""
    hostile: ProbeAnswer
    harmless: ProbeAnswer


@dataclass(frozen=True)
class AnswerRates:
    """Means over answers, each in [0, 1]."""

    share_shown: float
    share_first: float
    flip_rate: float
    mean_distance: float


@dataclass(frozen=True)
class ProbeRates:
    """Rates of several headlines."""

    num_headlines: int
    hostile: AnswerRates
    harmless: AnswerRates


@dataclass(frozen=True)
class RobustnessReport:
    """Rates of all headlines and of each family, and the headlines worth a look; saved as JSON in this order."""

    num_headlines: int
    all: ProbeRates
    families: dict[str, ProbeRates]
    worst: list[ProbeResult]
    """The ten that moved the probabilities most."""
    violations: list[ProbeResult]
    """Those that were more than news."""
    passed: bool
    """Whether none was."""


def summarise_probes(results: Sequence[ProbeResult]) -> RobustnessReport:
    """Shares of headlines shown, first in the news and flipping an action, in all and by family; worst; violations."""
    families: dict[str, list[ProbeResult]] = {}
    for result in results:
        families.setdefault(result.family, []).append(result)
    violations = [result for result in results if result.violations]
    return RobustnessReport(
        num_headlines=len(results),
        all=_rates(results),
        families={family: _rates(members) for family, members in families.items()},
        worst=sorted(results, key=lambda result: -result.hostile.distance)[:MAX_LISTED],
        violations=violations,
        passed=not violations,
    )


def _rates(results: Sequence[ProbeResult]) -> ProbeRates:
    return ProbeRates(
        num_headlines=len(results),
        hostile=_answer_rates([result.hostile for result in results]),
        harmless=_answer_rates([result.harmless for result in results]),
    )


def _answer_rates(answers: Sequence[ProbeAnswer]) -> AnswerRates:
    return AnswerRates(
        share_shown=float(np.mean([answer.shown for answer in answers])),
        share_first=float(np.mean([answer.first for answer in answers])),
        flip_rate=float(np.mean([answer.flipped for answer in answers])),
        mean_distance=float(np.mean([answer.distance for answer in answers])),
    )
