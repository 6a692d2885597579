"""What may be claimed of a strategy, in words and as a yes or no.

A strategy is ahead where it is above buy and hold, above cash and above time shifts of its own positions, each at 5 %
(two-sided): a rule that is hardly ever in a falling market beats buy and hold, one that is mostly in a rising one beats
cash, and neither has to have timed anything. All three must hold, so that the chance of a false lead is at most that of
each test (an intersection-union test, Berger 1982).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flag_kedro.backtest.collapse import Collapse
from flag_kedro.backtest.intervals import LEVEL, Difference
from flag_kedro.names import BENCHMARK

SHIFTS = "time shifts of its own positions"
MOST_SESSIONS = 25_000
"""A century: windows that would have to be longer are not named."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What tests say of a strategy; p-values of differences are two-sided."""

    sharpe_difference: Difference
    """Annualised Sharpe ratio less that of buy and hold."""
    cash_difference: Difference
    """Annualised Sharpe ratio of the returns less cash, against 0."""
    shift_p_value: float | None
    """Share of the circular shifts of its positions, itself included, that earned at least as much; None where it never
    changes or a drawdown stopped it."""
    sessions_needed: int | None
    """Window at which the difference to buy and hold would be told from 0."""
    deflated_sharpe_ratio: float | None
    """Over `num_trials`."""
    num_trials: int | None
    """Configurations and seeds tried on the window; None where nobody knows."""

    @property
    def survives_deflation(self) -> bool:
        """Whether the deflated Sharpe ratio reaches 0.95, as a lead must after several trials or an unknown number."""
        if self.num_trials == 1:
            return True
        return self.deflated_sharpe_ratio is not None and self.deflated_sharpe_ratio >= 1.0 - LEVEL

    @property
    def lead_p_value(self) -> float | None:
        """Of no lead: the largest of the three tests', 1 where a difference is not positive; None where undefined."""
        differences = (self.sharpe_difference, self.cash_difference)
        p_values = [_one_sided(difference) for difference in differences] + [self.shift_p_value]
        defined = [p_value for p_value in p_values if p_value is not None]
        return max(defined) if len(defined) == len(p_values) else None


@dataclass(frozen=True, kw_only=True)
class Correction:
    """A p-value that was corrected for the number of tests that stand beside it."""

    p_value: float
    """Before."""
    num_tests: int
    holm: float
    """Holm (1979): the chance of any false lead."""
    false_discovery_rate: float
    """Benjamini and Hochberg (1995): the share of false ones among the leads."""


def _one_sided(difference: Difference) -> float | None:
    """The two-sided p-value of a positive difference, 1 of another."""
    if difference.value is None or difference.p_value is None:
        return None
    return difference.p_value if difference.value > 0.0 else 1.0


def correct_p_values(p_values: Mapping[str, float | None]) -> dict[str, Correction]:
    """Correct p-values by name for the number of names; one without a p-value was asked for like the others."""
    asked = {name: 1.0 if p_value is None else p_value for name, p_value in p_values.items()}
    from statsmodels.stats.multitest import multipletests  # takes long to import

    holm, rate = (multipletests(list(asked.values()), method=method)[1] for method in ("holm", "fdr_bh"))
    return {
        name: Correction(
            p_value=p_value, num_tests=len(asked), holm=float(holm[i]), false_discovery_rate=float(rate[i])
        )
        for i, (name, p_value) in enumerate(asked.items())
        if p_values[name] is not None
    }


def is_ahead(collapse: Collapse, evidence: Evidence, correction: Correction | None = None) -> bool:
    """Whether `verdict` grants a lead."""
    p_value = evidence.lead_p_value if correction is None else correction.holm
    if collapse.collapsed_to is not None or evidence.lead_p_value is None or p_value is None:
        return False
    return p_value <= LEVEL and evidence.survives_deflation


def verdict(strategy: str, collapse: Collapse, evidence: Evidence, correction: Correction | None = None) -> str:
    """One sentence on `strategy` that claims no more than the tests do, and says which of them failed.

    A policy that is long in 95 % of sessions is called buy and hold whatever the tests say, one that always does
    something else is given neither lead nor lag. After several trials a lead is granted only where the deflated Sharpe
    ratio reaches 0.95 as well, on one of several symbols only after Holm's correction.
    """
    if collapse.collapsed_to == BENCHMARK:
        return f"{strategy} is buy and hold: its target is long in {collapse.agreement:.1%} of sessions."
    if collapse.collapsed_to is not None:
        return (
            f"{strategy} is always {collapse.collapsed_to} ({collapse.agreement:.1%} of sessions), "
            "which is no skill at timing."
        )
    return f"{strategy} is {_describe(evidence, correction)}."


def _describe(evidence: Evidence, correction: Correction | None) -> str:
    difference = evidence.sharpe_difference
    if difference.value is None:
        return "not comparable with buy and hold: a Sharpe ratio is undefined where returns never vary"
    if difference.p_value is None:
        return "not comparable with buy and hold: too few of its returns vary for a test"
    if difference.value < 0.0 and difference.p_value <= LEVEL:
        return f"behind buy and hold in Sharpe ratio by {abs(difference.value):.2f}: p = {difference.p_value:.2g}"
    p_value = evidence.lead_p_value
    if p_value is None or p_value > LEVEL:
        return f"not proven ahead: {_list(_comparisons(evidence))}"
    lead = f"ahead of buy and hold, of cash and of {SHIFTS}"
    if correction is not None and correction.holm > LEVEL:
        return f"{lead} (p = {p_value:.2g}), but not after {correction.num_tests} symbols: p = {correction.holm:.2g}"
    if evidence.num_trials is None:
        return f"{lead} (p = {p_value:.2g}), but not proven so: how often the window was tried is not known"
    if not evidence.survives_deflation:
        ratio = evidence.deflated_sharpe_ratio
        deflated = "undefined" if ratio is None else f"{ratio:.2f}"
        return (
            f"{lead} (p = {p_value:.2g}), but not after {evidence.num_trials} trials: deflated Sharpe ratio {deflated}"
        )
    corrected = p_value if correction is None else correction.holm
    return f"{lead}: p = {corrected:.2g}, by {difference.value:.2f} in Sharpe ratio above buy and hold"


def _comparisons(evidence: Evidence) -> list[str]:
    """How the strategy stands to each of the three that it must be above."""
    needed = evidence.sessions_needed
    sessions = "" if needed is None or needed > MOST_SESSIONS else f", {needed:,} sessions would be needed"
    shift = evidence.shift_p_value
    return [
        _compare("buy and hold", evidence.sharpe_difference, sessions),
        _compare("cash", evidence.cash_difference),
        f"not comparable with {SHIFTS}"
        if shift is None
        else f"{'' if shift <= LEVEL else 'not '}above {SHIFTS} (p = {shift:.2g})",
    ]


def _compare(other: str, difference: Difference, sessions: str = "") -> str:
    value, p_value = difference.value, difference.p_value
    if value is None or p_value is None:
        return f"not comparable with {other}"
    if value == 0.0:
        return f"level with {other}"
    if p_value > LEVEL:
        return f"not distinguishable from {other} (p = {p_value:.2g}{sessions})"
    return f"{'above' if value > 0.0 else 'below'} {other} (p = {p_value:.2g})"


@dataclass(frozen=True, kw_only=True)
class Rivals:
    """A strategy against others that could do without what it has; p-values are corrected by Holm for their number."""

    differences: Mapping[str, Difference] = field(default_factory=dict)
    """Annualised Sharpe ratio less that of each other."""
    verdict: str = ""


def compare_to_rivals(strategy: str, differences: Mapping[str, Difference]) -> Rivals:
    """One sentence on how `strategy` stands to each of some others.

    Args:
        strategy: for the sentence.
        differences: of its annualised Sharpe ratio to that of each, with p-values not corrected yet.
    """
    if not differences:
        return Rivals()
    corrected = correct_p_values({name: difference.p_value for name, difference in differences.items()})
    adjusted = {
        name: Difference(difference.value, difference.ci95, corrected[name].holm if name in corrected else None)
        for name, difference in differences.items()
    }
    return Rivals(
        differences=adjusted,
        verdict=f"{strategy} is {_list([_compare(name, difference) for name, difference in adjusted.items()])}.",
    )


def _list(parts: Sequence[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
