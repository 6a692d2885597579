"""Scores of a backtest, each with its formula; SEMANTICS section 7.

Shape legend: n = prices (sessions), n - 1 = returns. Ratios are decimals. An undefined score (a Sharpe
ratio of a path that never moves) is None, not 0.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from flag_kedro.backtest.config import Convention
from flag_kedro.env.account import Floats, Ints

Scores = dict[str, float | int | None]
TINY_STD = 1e-12
STOCK_DAYS, CRYPTO_DAYS = 252, 365


def days_per_year(calendar: str) -> int:
    """Sessions that a year counts: 365 for a market that never closes, else 252."""
    return CRYPTO_DAYS if calendar == "24/7" else STOCK_DAYS


def account_scores(equity: Floats, positions: Ints, traded_value: Floats, days: int) -> Scores:
    """Score an equity path with whatever fills and costs made it (convention `account`).

    With r the n - 1 daily log returns of equity and D = `days`:
    `cumulative_return` = sum r (the paper's CR), `total_return` = exp(sum r) - 1, `sharpe_ratio` =
    mean r / std r x sqrt(D) with ddof 1 and a cash rate of 0, `annual_volatility` = std r x sqrt(D),
    `max_drawdown` = largest fall of equity below its running peak, first day included, `win_rate` =
    share of positive r among sessions with exposure, `turnover` = traded value / mean equity, per year.

    Args:
        equity: marks, [n].
        positions: held over the return ending at each session, [n]; the first is not read.
        traded_value: money traded at each session, [n].
        days: sessions in a year.
    """
    returns = np.diff(np.log(equity))
    std = _std(returns)
    exposed = positions[1:] != 0
    return {
        "cumulative_return": float(returns.sum()),
        "total_return": float(equity[-1] / equity[0] - 1.0),
        "sharpe_ratio": float(returns.mean() / std * math.sqrt(days)) if std else None,
        "annual_volatility": None if std is None else std * math.sqrt(days),
        "max_drawdown": max_drawdown(equity),
        "win_rate": float((returns[exposed] > 0).mean()) if exposed.any() else None,
        "turnover": float(traded_value.sum() / equity.mean() / (len(returns) / days)),
        "num_prices": len(equity),
        "num_days": len(returns),
    }


def investorbench_scores(positions: Ints, prices: Floats, *, days_mean: int, days_volatility: int) -> Scores:
    """Score positions held from p_i to p_{i+1} at the same close, without costs (convention `investorbench`).

    r_i = position_i x ln(p_{i+1} / p_i); CR = sum r; AV = std(r, ddof 1) x sqrt(days_volatility);
    SR = CR / (n / days_mean) / AV with n the number of *prices*; MDD on cumprod(1 + r) starting at 1.
    Source: InvestorBench's `src/eval_pipeline.py`.

    Args:
        positions: -1, 0 or 1 taken at each session's close, [n]; the last is unused.
        prices: closes, [n].
        days_mean: sessions a year in the mean.
        days_volatility: sessions a year in the volatility.
    """
    returns = positions[:-1].astype(np.float64) * np.diff(np.log(prices))
    std = _std(returns)
    volatility = None if std is None else std * math.sqrt(days_volatility)
    curve = np.concatenate([[1.0], np.cumprod(1.0 + returns)])
    exposed = positions[:-1] != 0
    total = float(returns.sum())
    return {
        "cumulative_return": total,
        "total_return": math.exp(total) - 1.0,
        "sharpe_ratio": total / (len(prices) / days_mean) / volatility if volatility else None,
        "annual_volatility": volatility,
        "max_drawdown": max_drawdown(curve),
        "win_rate": float((returns[exposed] > 0).mean()) if exposed.any() else None,
        "turnover": float(np.abs(np.diff(positions, prepend=0)[:-1]).sum() / (len(returns) / days_volatility)),
        "num_prices": len(prices),
        "num_days": len(returns),
    }


def max_drawdown(path: Floats) -> float:
    """Largest fall of `path` [n] below its running peak, as a share of the peak; the first value counts."""
    return float(np.max(1.0 - path / np.maximum.accumulate(path)))


def _std(returns: Floats) -> float | None:
    """Sample standard deviation, None where it is not defined; 0 for a path that never moves."""
    if len(returns) < 2:
        return None
    std = float(returns.std(ddof=1))
    return std if std >= TINY_STD else 0.0


def target_positions(actions: pl.Series, positions: pl.Series) -> Ints:
    """Position that each decision asks for: what `sell` and `buy` target, or the position kept by `hold`."""
    table = pl.DataFrame({"action": actions, "position": positions})
    target = pl.when(pl.col("action") == "buy").then(1).when(pl.col("action") == "sell").then(0).otherwise("position")
    return table.select(target.cast(pl.Int64).alias("target"))["target"].to_numpy()


def score_strategies(
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    marks: Mapping[str, Floats],
    calendars: Mapping[str, str],
    convention: Convention,
) -> dict[str, dict[str, Scores]]:
    """Score every strategy on every symbol.

    Args:
        decisions: columns of `replay.DECISIONS`.
        equity: columns of `replay.EQUITY`.
        marks: closes of each symbol over the window, [n].
        calendars: exchange calendar of each symbol.
        convention: see `config.BacktestConfig`.

    Returns:
        `{SYMBOL: {STRATEGY: scores}}`.
    """
    results: dict[str, dict[str, Scores]] = {}
    for (symbol, strategy), path in equity.group_by("symbol", "strategy", maintain_order=True):
        days = days_per_year(calendars[str(symbol)])
        if convention == "account":
            scores = account_scores(
                path["equity"].to_numpy(), path["position"].to_numpy(), path["traded_value"].to_numpy(), days
            )
        else:
            own = decisions.filter((pl.col("symbol") == symbol) & (pl.col("strategy") == strategy))
            targets = target_positions(own["action"], own["position"])
            scores = investorbench_scores(targets, marks[str(symbol)], days_mean=STOCK_DAYS, days_volatility=days)
        results.setdefault(str(symbol), {})[str(strategy)] = scores
    return results


def describe_convention(
    convention: Convention,
    window: tuple[str, str],
    fill: str,
    cost_bps: float,
    slippage_bps: float,
    calendars: Mapping[str, str],
) -> dict[str, Any]:
    """Everything a reader must know to compare a score with somebody else's."""
    days = {symbol: days_per_year(calendar) for symbol, calendar in calendars.items()}
    common = {"name": convention, "window": list(window), "returns": "log"}
    if convention == "account":
        return common | {
            "fill": fill,
            "cost_bps": cost_bps,
            "slippage_bps": slippage_bps,
            "sharpe_ratio": "mean / std (ddof 1) of daily log returns x sqrt(D), cash rate 0",
            "max_drawdown": "of equity, first day included",
            "days_per_year": days,
        }
    return common | {
        "fill": "same_close",
        "cost_bps": 0.0,
        "slippage_bps": 0.0,
        "sharpe_ratio": "cumulative return / (prices / days_mean) / annual volatility",
        "max_drawdown": "of cumprod(1 + log return)",
        "days_mean": STOCK_DAYS,
        "days_volatility": days,
    }
