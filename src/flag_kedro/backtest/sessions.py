"""What a strategy did and earned session by session, and every metric of it in either convention.

Shape legend: n = returns, n + 1 = prices (sessions), B = bootstrap draws.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flag_kedro import names
from flag_kedro.backtest import metrics
from flag_kedro.env.account import Bools, Floats, Ints
from flag_kedro.errors import DataError


@dataclass(frozen=True)
class Sessions:
    """What one strategy did and earned on one symbol; every array [..., n], so that sessions can be drawn anew."""

    returns: Floats
    """Log returns; -inf at the end of a ruined account."""
    excess: Floats
    """Log returns less the cash log return of the session."""
    held: Bools
    """Whether there was a position over the return."""
    invested: Floats
    """Share of equity that was in it."""
    traded: Floats
    """Value traded at the session."""
    equity: Floats
    """Mark at the session, in the unit of `traded`."""
    first_equity: float
    """Mark at the window's start."""

    def draw(self, indices: Ints) -> "Sessions":
        """Sessions picked by `indices` [B, n], each with all that belongs to it, [B, n]."""
        returns = self.returns[indices]
        excess = returns if self.excess is self.returns else self.excess[indices]
        return Sessions(
            returns,
            excess,
            self.held[indices],
            self.invested[indices],
            self.traded[indices],
            self.equity[indices],
            self.first_equity,
        )

    def mean_equity(self) -> Floats:
        """Mean over all n + 1 marks, [...]."""
        return np.asarray((self.first_equity + self.equity.sum(-1)) / (self.equity.shape[-1] + 1))

    @property
    def ruined(self) -> bool:
        """Whether the account ended with nothing."""
        return bool(np.isneginf(self.returns).any())


Metrics = dict[str, Floats]
Measure = Callable[[Sessions], Metrics]
"""All metrics of sessions [..., n] in one convention, each [...]."""


def account_metrics(sessions: Sessions, *, days: int) -> Metrics:
    """Metrics of an equity path with whatever fills and costs made it (convention `account`)."""
    sharpe = metrics.sharpe_ratio(sessions.excess, days)
    return _metrics(sessions, sharpe, metrics.equity_path(sessions.returns), days)


def investorbench_metrics(sessions: Sessions, *, days_mean: int, days_volatility: int) -> Metrics:
    """Metrics of positions without costs (convention `investorbench`).

    As in the convention `account`, but SR = CR / ((n + 1) / days_mean) / AV, and the drawdown is that of
    cumprod(1 + log return). Source: InvestorBench's `src/eval_pipeline.py`.
    """
    returns = sessions.returns
    num = returns.shape[-1]
    sharpe = metrics.sharpe_ratio(returns, days_volatility) * (num / (num + 1) * days_mean / days_volatility)
    curve = np.ones((*returns.shape[:-1], num + 1))
    np.cumprod(1.0 + returns, axis=-1, out=curve[..., 1:])
    return _metrics(sessions, sharpe, curve, days_volatility)


def _metrics(sessions: Sessions, sharpe: Floats, path: Floats, days: int) -> Metrics:
    drawdown = metrics.max_drawdown(path)
    return {
        names.CUMULATIVE_RETURN: metrics.cumulative_return(sessions.returns),
        names.TOTAL_RETURN: metrics.total_return(sessions.returns),
        names.SHARPE_RATIO: sharpe,
        names.SORTINO_RATIO: metrics.sortino_ratio(sessions.excess, days),
        names.ANNUAL_VOLATILITY: metrics.annual_volatility(sessions.returns, days),
        names.MAX_DRAWDOWN: drawdown,
        names.CALMAR_RATIO: metrics.calmar_ratio(sessions.returns, drawdown, days),
        names.WIN_RATE: metrics.win_rate(sessions.returns, sessions.held),
        names.EXPOSURE: metrics.exposure(sessions.invested),
        names.TURNOVER: metrics.turnover(sessions.traded, sessions.mean_equity(), days),
        names.NUM_TRADES: metrics.num_trades(sessions.traded),
    }


def account_sessions(
    equity: Floats,
    positions: Ints,
    traded_value: Floats,
    cash_returns: Floats | None = None,
    exposure: Floats | None = None,
) -> Sessions:
    """Sessions of an account; arguments as in `account_scores`.

    An account that ends at or below 0 is ruined: its last log return is -inf.

    Raises:
        DataError: where equity, traded value or cash is not finite, or equity is 0 or less before its last mark.
    """
    cash = np.zeros(len(equity) - 1) if cash_returns is None else cash_returns
    for name, values in (("equity", equity), ("traded_value", traded_value), ("cash_returns", cash)):
        if not np.isfinite(values).all():
            raise DataError(f"{name} must be finite; found {values[~np.isfinite(values)][0]} in a path to be scored")
    if (equity[:-1] <= 0.0).any():
        worst = int(np.argmax(equity <= 0.0))
        raise DataError(f"equity is {equity[worst]:g} at session {worst}, but the account trades on; end it there")
    if len(cash) != len(equity) - 1:
        raise DataError(f"{len(cash)} cash returns for {len(equity) - 1} returns of equity; give one for each")
    with np.errstate(divide="ignore"):
        returns = np.diff(np.log(np.maximum(equity, 0.0)))
    excess = returns if cash_returns is None else returns - cash
    held = positions[1:] != 0
    invested = held.astype(np.float64) if exposure is None else exposure[1:]
    return Sessions(returns, excess, held, invested, traded_value[1:], equity[1:], float(equity[0]))


def investorbench_sessions(positions: Ints, prices: Floats) -> Sessions:
    """Sessions of positions held from p_i to p_{i+1} at the same close; arguments as in `investorbench_scores`."""
    returns = positions[:-1].astype(np.float64) * np.diff(np.log(prices))
    changes = np.abs(np.diff(positions, prepend=0)[:-1]).astype(np.float64)
    held = positions[:-1] != 0
    return Sessions(returns, returns, held, held.astype(np.float64), changes, np.ones(len(returns)), 1.0)
