"""What of a strategy's return is the market's: a regression, and what it leaves as alpha."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from flag_kedro.backtest.pooled import pool_accounts
from flag_kedro.backtest.scores import days_per_year
from flag_kedro.env.account import Floats
from flag_kedro.names import BENCHMARK

MIN_RETURNS = 20
"""Fewer say nothing of two coefficients."""


@dataclass(frozen=True, kw_only=True)
class MarketExposure:
    """Simple returns of the account of all symbols above cash, regressed on those of buy and hold; saved as JSON."""

    alpha: float
    """A year, as a decimal: what is left of the mean return once the market's part is taken off."""
    alpha_ci95: tuple[float, float]
    beta: float
    """Returns for each of the market's."""
    beta_ci95: tuple[float, float]
    r_squared: float
    """Share of the variance that the market explains."""


def regress_on_market(
    equity: pl.DataFrame, cash_returns: np.ndarray | None = None, calendar: str = "XNYS"
) -> dict[str, MarketExposure]:
    """Exposure of every strategy but buy and hold, whose account is the equal-weight market; ruined ones have none.

    Args:
        equity: columns of `replay.EQUITY`, with `buy_and_hold` among the strategies.
        cash_returns: log return of cash over each return of the account of all symbols, [n]; None is a rate of 0.
        calendar: exchange calendar, for the sessions of a year.
    """
    pooled = pool_accounts(equity)
    paths = {str(name): path["equity"].to_numpy() for (name,), path in pooled.group_by("strategy", maintain_order=True)}
    returns = {name: path[1:] / path[:-1] - 1.0 for name, path in paths.items() if (path > 0.0).all()}
    if BENCHMARK not in returns or len(returns[BENCHMARK]) < MIN_RETURNS:
        return {}
    cash = np.zeros(len(returns[BENCHMARK])) if cash_returns is None else np.expm1(cash_returns)
    market, days = returns[BENCHMARK] - cash, days_per_year(calendar)
    found = {}
    for name, own in returns.items():
        if name == BENCHMARK or np.ptp(own - cash) == 0.0:
            continue
        fitted = hac_regression(own - cash, market[:, None])
        (low, high), beta_ci95 = fitted.intervals
        found[name] = MarketExposure(
            alpha=fitted.values[0] * days,
            alpha_ci95=(low * days, high * days),
            beta=fitted.values[1],
            beta_ci95=beta_ci95,
            r_squared=fitted.r_squared,
        )
    return found


@dataclass(frozen=True)
class Regression:
    """Coefficients, the intercept first, and their 95 % intervals."""

    values: list[float]
    intervals: list[tuple[float, float]]
    r_squared: float


def hac_regression(own: Floats, others: Floats) -> Regression:
    """Least squares with errors of Newey and West (1987) at floor(4 (n / 100)^(2/9)) lags (statsmodels).

    Args:
        own: returns to be explained, [n].
        others: what explains them, [n, factors].
    """
    import statsmodels.api as sm

    lags = int(4 * (len(own) / 100) ** (2 / 9))
    model = sm.OLS(own, sm.add_constant(others, has_constant="add"))
    fitted = model.fit(cov_type="HAC", cov_kwds={"maxlags": lags})
    intervals = [(float(low), float(high)) for low, high in fitted.conf_int()]
    return Regression([float(value) for value in fitted.params], intervals, float(fitted.rsquared))
