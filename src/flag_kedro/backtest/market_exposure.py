"""What of a strategy's return is the market's: a regression, and what it leaves as alpha."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from flag_kedro.backtest.pooled import pool_accounts
from flag_kedro.backtest.scores import days_per_year
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

    Least squares with errors of Newey and West (1987) at floor(4 (n / 100)^(2/9)) lags (statsmodels).

    Args:
        equity: columns of `replay.EQUITY`, with `buy_and_hold` among the strategies.
        cash_returns: log return of cash over each return of the account of all symbols, [n]; None is a rate of 0.
        calendar: exchange calendar, for the sessions of a year.
    """
    import statsmodels.api as sm

    pooled = pool_accounts(equity)
    paths = {str(name): path["equity"].to_numpy() for (name,), path in pooled.group_by("strategy", maintain_order=True)}
    returns = {name: path[1:] / path[:-1] - 1.0 for name, path in paths.items() if (path > 0.0).all()}
    if BENCHMARK not in returns or len(returns[BENCHMARK]) < MIN_RETURNS:
        return {}
    cash = np.zeros(len(returns[BENCHMARK])) if cash_returns is None else np.expm1(cash_returns)
    market, days = returns[BENCHMARK] - cash, days_per_year(calendar)
    lags = int(4 * (len(market) / 100) ** (2 / 9))
    found = {}
    for name, own in returns.items():
        if name == BENCHMARK or np.ptp(own - cash) == 0.0:
            continue
        model = sm.OLS(own - cash, sm.add_constant(market, has_constant="add"))
        fitted = model.fit(cov_type="HAC", cov_kwds={"maxlags": lags})
        (low, high), (beta_low, beta_high) = fitted.conf_int()
        found[name] = MarketExposure(
            alpha=float(fitted.params[0] * days),
            alpha_ci95=(float(low * days), float(high * days)),
            beta=float(fitted.params[1]),
            beta_ci95=(float(beta_low), float(beta_high)),
            r_squared=float(fitted.rsquared),
        )
    return found
