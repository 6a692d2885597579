"""What of a strategy's return is that of known factors (market, size, value): a regression on them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from flag_kedro.backtest.market_exposure import hac_regression
from flag_kedro.backtest.pooled import pool_accounts
from flag_kedro.backtest.scores import days_per_year
from flag_kedro.env.account import Floats
from flag_kedro.errors import DataError

DATE = "date"
RATE = "rf"
"""A column of this name, in any case, is the rate of cash and no factor."""
MIN_PER_FACTOR = 10
"""Returns for each coefficient; fewer say nothing."""
LARGEST_DEVIATION = 0.2
"""Of daily returns as decimals; what deviates more is in percent."""


@dataclass(frozen=True, kw_only=True)
class FactorExposure:
    """Simple returns of the account of all symbols above cash, regressed on factors; saved as JSON in this order."""

    alpha: float
    """A year, as a decimal: what is left of the mean return once the factors' part is taken off."""
    alpha_ci95: tuple[float, float]
    betas: dict[str, float]
    """Returns for each of a factor's."""
    betas_ci95: dict[str, tuple[float, float]]
    r_squared: float
    num_returns: int
    num_missing: int
    """Returns of the account on dates that the file does not have."""


def read_factors(path: Path) -> pl.DataFrame:
    """Daily factor returns from a CSV file: `date` (2020-12-31 or 20201231) and a column for each factor, as decimals.

    Those of Kenneth French's data library are in percent: divide them by 100.

    Returns:
        `date` (Date) and the factors (Float64), ascending.

    Raises:
        DataError: naming file, column and line, when it cannot be read so.
    """
    try:
        table = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"backtest.factors: {path} cannot be read as CSV: {error}") from error
    table = table.rename({name: name.strip() for name in table.columns})
    dates = next((name for name in table.columns if name.lower() == DATE), None)
    factors = [name for name in table.columns if name.lower() not in (DATE, RATE)]
    if dates is None or not factors:
        raise DataError(
            f"backtest.factors: {path} has the columns {', '.join(table.columns)}; it must have date and a factor"
        )
    digits = pl.col(dates).str.strip_chars().str.replace_all("-", "")
    parsed = table.select(
        digits.str.to_date("%Y%m%d", strict=False).alias(DATE),
        *(pl.col(name).str.strip_chars().cast(pl.Float64, strict=False) for name in factors),
    )
    for name in (DATE, *factors):
        unread = parsed[name].is_null() if name == DATE else parsed[name].is_null() | ~parsed[name].is_finite()
        if (at := unread.fill_null(value=True).arg_true()).len():
            found = table[dates if name == DATE else name][at[0]]
            raise DataError(f"backtest.factors: {path}, line {at[0] + 2}: {name} is {found!r}, which is none")
    if parsed[DATE].is_duplicated().any():
        twice = parsed.filter(pl.col(DATE).is_duplicated())[DATE][0]
        raise DataError(f"backtest.factors: {path} has {twice} more than once")
    for name in factors:
        deviation = parsed[name].std()
        if isinstance(deviation, float) and deviation > LARGEST_DEVIATION:
            raise DataError(
                f"backtest.factors: {path}: {name} has a standard deviation of {deviation:.2f} a day, so it is in "
                "percent; divide the factors by 100"
            )
    return parsed.sort(DATE)


def regress_on_factors(
    equity: pl.DataFrame, factors: pl.DataFrame, cash_returns: Floats | None = None, calendar: str = "XNYS"
) -> dict[str, FactorExposure]:
    """Exposure of every strategy; ruined and idle ones have none.

    Args:
        equity: columns of `replay.EQUITY`.
        factors: as `read_factors` gives them.
        cash_returns: log return of cash over each return of the account of all symbols, [n]; None is a rate of 0.
        calendar: exchange calendar, for the sessions of a year.

    Raises:
        DataError: when the factors cover too few returns.
    """
    names = [name for name in factors.columns if name != DATE]
    found = {}
    for (strategy,), path in pool_accounts(equity).group_by("strategy", maintain_order=True):
        values = path["equity"].to_numpy()
        if not (values > 0.0).all():
            continue
        simple = values[1:] / values[:-1] - 1.0
        cash = np.zeros(len(simple)) if cash_returns is None else np.expm1(cash_returns)
        own = pl.DataFrame({DATE: path["session"][1:], "excess": simple - cash}).join(factors, on=DATE, how="inner")
        if own.height < MIN_PER_FACTOR * (1 + len(names)):
            raise DataError(
                f"backtest.factors covers {own.height} of {len(simple)} returns of the test window; "
                f"{len(names)} factors need {MIN_PER_FACTOR * (1 + len(names))}"
            )
        if np.ptp(own["excess"].to_numpy()) > 0.0:
            fitted = _regress(own, names, days_per_year(calendar), len(simple) - own.height)
            found[str(strategy)] = fitted
    return found


def _regress(own: pl.DataFrame, names: list[str], days: int, num_missing: int) -> FactorExposure:
    fitted = hac_regression(own["excess"].to_numpy(), own.select(names).to_numpy())
    (low, high), *ends = fitted.intervals
    return FactorExposure(
        alpha=fitted.values[0] * days,
        alpha_ci95=(low * days, high * days),
        betas=dict(zip(names, fitted.values[1:], strict=True)),
        betas_ci95=dict(zip(names, ends, strict=True)),
        r_squared=fitted.r_squared,
        num_returns=own.height,
        num_missing=num_missing,
    )
