"""Scores of replayed strategies as tables, in either convention; the formulas are in `metrics`.

Shape legend: n = returns, n + 1 = prices (sessions). An undefined score is None, not 0.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import polars as pl

from flag_kedro.backtest.config import Convention
from flag_kedro.backtest.metrics import sharpe_ratio
from flag_kedro.backtest.sessions import (
    Measure,
    Sessions,
    account_metrics,
    account_sessions,
    investorbench_metrics,
    investorbench_sessions,
)
from flag_kedro.env.account import RUIN_SHARE, Floats, Ints
from flag_kedro.env.config import EnvConfig, Fill, Positions
from flag_kedro.env.evaluation import target_positions
from flag_kedro.names import NUM_TRADES

Scores = dict[str, float | int | None]
STOCK_DAYS, CRYPTO_DAYS = 252, 365


def days_per_year(calendar: str) -> int:
    """Sessions that a year counts: 365 for a market that never closes, else 252."""
    return CRYPTO_DAYS if calendar == "24/7" else STOCK_DAYS


def account_scores(
    equity: Floats,
    positions: Ints,
    traded_value: Floats,
    days: int,
    cash_returns: Floats | None = None,
    exposure: Floats | None = None,
) -> Scores:
    """Score an equity path (convention `account`).

    Args:
        equity: marks, [n + 1].
        positions: held over the return ending at each session, [n + 1]; the first is not read.
        traded_value: money traded at each session, [n + 1]; the first is not read.
        days: sessions in a year.
        cash_returns: log return of cash over each return, [n]; None is a rate of 0.
        exposure: share of equity that was in the position, [n + 1]; the first is not read, None is all of it.

    Raises:
        DataError: as `account_sessions`.
    """
    sessions = account_sessions(equity, positions, traded_value, cash_returns, exposure)
    return _plain(sessions, partial(account_metrics, days=days))


def investorbench_scores(positions: Ints, prices: Floats, *, days_mean: int, days_volatility: int) -> Scores:
    """Score positions held from p_i to p_{i+1} at the same close, without costs (convention `investorbench`).

    Args:
        positions: -1, 0 or 1 taken at each session's close, [n + 1]; the last is unused.
        prices: closes, [n + 1].
        days_mean: sessions a year in the mean.
        days_volatility: sessions a year in the volatility.
    """
    measure = partial(investorbench_metrics, days_mean=days_mean, days_volatility=days_volatility)
    return _plain(investorbench_sessions(positions, prices), measure)


def session_sharpe(log_returns: Floats, cash_returns: Floats) -> float:
    """Sharpe ratio per session, not annualised, of log returns [n] less cash [n]; 0 where nothing varies."""
    ratio = float(sharpe_ratio(log_returns - cash_returns, days=1))
    return 0.0 if math.isnan(ratio) else ratio


def _plain(sessions: Sessions, measure: Measure) -> Scores:
    measured = {name: float(value) for name, value in measure(sessions).items()}
    scores: Scores = {name: value if np.isfinite(value) else None for name, value in measured.items()}
    num = len(sessions.returns)
    return scores | {NUM_TRADES: int(measured[NUM_TRADES]), "num_prices": num + 1, "num_days": num}


def strategy_sessions(
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    marks: Mapping[str, Floats],
    calendars: Mapping[str, str],
    convention: Convention,
    cash_returns: Mapping[str, Floats] | None = None,
    *,
    long_short: bool = False,
) -> Iterator[tuple[str, str, Sessions, Measure]]:
    """Yield (symbol, strategy, sessions, measure) of every path; arguments as in `score_strategies`."""
    decisions_of = decisions.partition_by("symbol", "strategy", as_dict=True)
    for (symbol, strategy), path in equity.group_by("symbol", "strategy", maintain_order=True):
        days = days_per_year(calendars[str(symbol)])
        if convention == "account":
            cash = None if cash_returns is None else cash_returns[str(symbol)]
            sessions, measure = path_sessions(path, cash), partial(account_metrics, days=days)
        else:
            decided = decisions_of[symbol, strategy]
            prices = marks[str(symbol)]
            targets = np.zeros(len(prices), dtype=np.int64)  # a ruined account decides no more and stays flat
            targets[: decided.height] = target_positions(decided, long_short=long_short)
            sessions = investorbench_sessions(targets, prices)
            measure = partial(investorbench_metrics, days_mean=STOCK_DAYS, days_volatility=days)
        yield str(symbol), str(strategy), sessions, measure


def path_sessions(path: pl.DataFrame, cash_returns: Floats | None) -> Sessions:
    """Sessions of one path of `replay.EQUITY`; path and `cash_returns` [n] are cut where the account was ruined.

    The environment leaves a ruined account a token share so that its rewards stay finite; here it ends with nothing.
    """
    columns = (path[name].to_numpy() for name in ("equity", "position", "traded_value", "exposure"))
    equity, positions, traded, exposure = columns
    ruined = np.flatnonzero(equity[1:] <= equity[:-1] * RUIN_SHARE * (1.0 + 1e-9))
    if len(ruined):
        end = int(ruined[0]) + 2
        equity, positions, traded, exposure = equity[:end].copy(), positions[:end], traded[:end], exposure[:end]
        equity[-1] = 0.0
    if cash_returns is not None:
        cash_returns = cash_returns[: len(equity) - 1]
    return account_sessions(equity, positions, traded, cash_returns, exposure)


def score_strategies(
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    marks: Mapping[str, Floats],
    calendars: Mapping[str, str],
    convention: Convention,
    cash_returns: Mapping[str, Floats] | None = None,
    *,
    long_short: bool = False,
) -> dict[str, dict[str, Scores]]:
    """Score every strategy on every symbol.

    Args:
        decisions: columns of `replay.DECISIONS`; those of a ruined account may end early.
        equity: columns of `replay.EQUITY`.
        marks: closes of each symbol over the window, [n + 1].
        calendars: exchange calendar of each symbol.
        convention: see `config.BacktestConfig`.
        cash_returns: log return of cash over each return of the window, [n]; None is a rate of 0.
        long_short: whether `sell` asks for a short position.

    Returns:
        `{SYMBOL: {STRATEGY: scores}}`.
    """
    results: dict[str, dict[str, Scores]] = {}
    for symbol, strategy, sessions, measure in strategy_sessions(
        decisions, equity, marks, calendars, convention, cash_returns, long_short=long_short
    ):
        results.setdefault(symbol, {})[strategy] = _plain(sessions, measure)
    return results


@dataclass(frozen=True, kw_only=True)
class ConventionDescription:
    """Everything a reader must know to compare a score with somebody else's; the common part."""

    name: Convention
    window: list[str]
    """First and last session date, ISO 8601."""
    returns: str = "log"
    positions: Positions
    fill: Fill
    cost_bps: float
    slippage_bps: float
    cash_rate: float
    """A year."""


@dataclass(frozen=True, kw_only=True)
class AccountDescription(ConventionDescription):
    """Scores of the equity path with its fills and costs."""

    borrow_bps_year: float
    """0 without short positions."""
    max_participation: float | None
    sharpe_ratio: str = "mean / std (ddof 1) of daily log returns less cash x sqrt(D)"
    max_drawdown: str = "of equity, first day included"
    days_per_year: dict[str, int]
    """D, by symbol."""


@dataclass(frozen=True, kw_only=True)
class StoppedDescription(AccountDescription):
    """The same of accounts that a drawdown stops."""

    max_drawdown_stop: float


@dataclass(frozen=True, kw_only=True)
class InvestorbenchDescription(ConventionDescription):
    """Scores of positions at the same close without costs, as the published tables have them."""

    sharpe_ratio: str = "cumulative return / (prices / days_mean) / annual volatility"
    max_drawdown: str = "of cumprod(1 + log return)"
    days_mean: int = STOCK_DAYS
    days_volatility: dict[str, int]
    """By symbol."""


def describe_convention(
    convention: Convention, window: tuple[str, str], env: EnvConfig, calendars: Mapping[str, str]
) -> ConventionDescription:
    """Describe a convention as it applies to a backtest.

    Args:
        convention: see `config.BacktestConfig`.
        window: first and last session date.
        env: fills and costs of the backtest, with the fill that the data allow.
        calendars: exchange calendar of each symbol.
    """
    days = {symbol: days_per_year(calendar) for symbol, calendar in calendars.items()}
    if convention == "account":
        described = AccountDescription(
            name=convention,
            window=list(window),
            positions=env.positions,
            fill=env.fill,
            cost_bps=env.cost_bps,
            slippage_bps=env.slippage_bps,
            cash_rate=env.cash_rate,
            borrow_bps_year=env.borrow_bps_year if env.positions == "long_short" else 0.0,
            max_participation=env.max_participation,
            days_per_year=days,
        )
        stop = env.max_drawdown_stop
        return described if stop is None else StoppedDescription(**asdict(described), max_drawdown_stop=stop)
    return InvestorbenchDescription(
        name=convention,
        window=list(window),
        positions=env.positions,
        fill="same_close",
        cost_bps=0.0,
        slippage_bps=0.0,
        cash_rate=0.0,
        days_volatility=days,
    )
