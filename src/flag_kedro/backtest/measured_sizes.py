"""How often tests at a nominal 5 % reject where there is nothing to find, as measured, to be said beside p-values.

Source: docs/statistics.md, whose table is of `docs/statistics.json`, written by `benchmarks/sizes.py`.
"""

from dataclasses import dataclass

from flag_kedro.backtest.intervals import LEVEL

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class MeasuredSizes:
    """Shares of rejections of true hypotheses, the least and the most over five kinds of simulated returns."""

    num_returns: int
    """Of the windows measured."""
    difference: Range
    """Of equal Sharpe ratios of 0 by `sharpe_difference`."""
    cash: Range
    """Of a Sharpe ratio of 0 by `cash_difference`."""
    probabilistic_sharpe_ratio: Range
    """Of a Sharpe ratio of 0 by a probabilistic one above 0.95."""


MEASURED = (
    MeasuredSizes(
        num_returns=60,
        difference=(0.0413, 0.0675),
        cash=(0.0475, 0.0612),
        probabilistic_sharpe_ratio=(0.0500, 0.1237),
    ),
    MeasuredSizes(
        num_returns=150,
        difference=(0.0488, 0.0600),
        cash=(0.0400, 0.0675),
        probabilistic_sharpe_ratio=(0.0450, 0.1113),
    ),
    MeasuredSizes(
        num_returns=250,
        difference=(0.0425, 0.0550),
        cash=(0.0450, 0.0550),
        probabilistic_sharpe_ratio=(0.0462, 0.1050),
    ),
)
"""By length, ascending."""


def sizes_of(num_returns: int) -> MeasuredSizes | None:
    """Sizes of the longest windows measured that are no longer than this one; None where it is shorter than all."""
    no_longer = [sizes for sizes in MEASURED if sizes.num_returns <= num_returns]
    return no_longer[-1] if no_longer else None


def size_note(num_returns: int) -> str:
    """One sentence on what a nominal 5 % is worth with so many returns."""
    sizes, shortest = sizes_of(num_returns), MEASURED[0].num_returns
    if sizes is None:
        return (
            f"{num_returns} returns are fewer than the {shortest} that the tests were measured with: "
            f"what a nominal {100.0 * LEVEL:g} % rejects here is not known."
        )
    return (
        f"What a nominal {100.0 * LEVEL:g} % is worth with {num_returns} returns: on {sizes.num_returns} simulated "
        f"ones without skill, p against buy and hold is at most {LEVEL:g} in {_percent(sizes.difference)} of cases, "
        f"p against cash in {_percent(sizes.cash)}, and PSR is above {1.0 - LEVEL:g} in "
        f"{_percent(sizes.probabilistic_sharpe_ratio)} (docs/statistics.md)."
    )


def _percent(shares: Range) -> str:
    low, high = (f"{100.0 * share:.0f}" for share in shares)
    return f"{low} %" if low == high else f"{low} to {high} %"
