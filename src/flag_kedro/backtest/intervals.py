"""Intervals and p-values from bootstrap draws.

Shape legend: n = returns, B = bootstrap draws. All intervals are two-sided at 95 %.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from flag_kedro.env.account import Floats
from flag_kedro.errors import DataError

LEVEL = 0.05
CONFIDENCE = 1.0 - LEVEL
MAX_UNDEFINED = 0.05
"""Largest share of draws in which a score may be undefined; with more it has no interval."""
TINY_ERROR = 1e-9
"""Share of the sample's standard error below which that of a draw is a rounding error."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """A strategy less the benchmark; None is undefined."""

    value: float | None
    ci95: Interval | None
    p_value: float | None
    """Two-sided, of no difference."""

    def scaled(self, factor: float) -> "Difference":
        """The same in another unit, by a positive factor."""
        value = None if self.value is None else self.value * factor
        ci95 = None if self.ci95 is None else (self.ci95[0] * factor, self.ci95[1] * factor)
        return replace(self, value=value, ci95=ci95)

    def as_dict(self) -> dict[str, object]:
        """Plain Python, for JSON."""
        ci95 = None if self.ci95 is None else list(self.ci95)
        return {"value": self.value, "ci95": ci95, "p_value": self.p_value}


def refuse_not_finite(*series: Floats) -> None:
    """Let series [n] of equal lengths and finite numbers pass.

    Raises:
        DataError: otherwise.
    """
    lengths = [len(values) for values in series]
    if len(set(lengths)) > 1:
        raise DataError(f"returns to be compared must be of the same sessions; found lengths {lengths}")
    for values in series:
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise DataError(
                f"return {bad[0]} of {len(values)} is {values[bad[0]]}; only finite returns can be compared"
            )


def studentised_difference(value: float, drawn: Floats, error: float, drawn_error: Floats) -> Difference:
    """Symmetric studentised bootstrap of `value`, in the unit of `value`.

    With t* = |drawn - value| / drawn_error in each draw, p = (1 + number of t* >= |value| / error) / (B + 1), and the
    interval is value +- c x error with c the floor(0.05 (B + 1))-th largest t*, so that it excludes 0 exactly when
    p <= 0.05. Only the ratio of the errors counts, not their unit.

    Args:
        value: statistic of the sample.
        drawn: statistic of each draw, [B].
        error: standard error in the sample.
        drawn_error: standard error in each draw, [B].

    Returns:
        Without interval and p-value where more than 5 % of the draws are undefined.
    """
    usable = np.isfinite(drawn) & (drawn_error > TINY_ERROR * error)
    if usable.mean() < 1.0 - MAX_UNDEFINED or not error > 0.0:
        return Difference(value, None, None)
    statistics = np.abs(drawn[usable] - value) / drawn_error[usable]
    num = len(statistics)
    p_value = (1 + int(np.count_nonzero(statistics >= abs(value) / error))) / (num + 1)
    rank = num - math.floor(LEVEL * (num + 1))
    width = float(np.partition(statistics, rank)[rank]) * error
    return Difference(value, (value - width, value + width), p_value)


def percentile_interval(drawn: Floats) -> Interval | None:
    """Range that the central 95 % of `drawn` [B] cover; undefined draws (NaN) are dropped, up to 5 % of them."""
    defined = drawn[np.isfinite(drawn)]
    if len(defined) < (1.0 - MAX_UNDEFINED) * len(drawn):
        return None
    low, high = np.quantile(defined, [LEVEL / 2.0, 1.0 - LEVEL / 2.0])
    return float(low), float(high)
