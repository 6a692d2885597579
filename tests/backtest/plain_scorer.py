"""Every metric of a backtest in plain loops, each from its line in docs/metrics.md.

Nothing here is imported from the project, and nothing is an array. What is undefined is None.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from plain_account import TOKEN, YEAR, asked_positions
from plain_files import Day, Decision, Mark, Saved, Terms

Score = float | int | None
MEAN_DAYS = 252
"""Sessions a year in the mean of the convention `investorbench`."""
ROUNDING = 1e-12
"""A deviation or a drawdown below this is a rounding error (`flag_kedro.backtest.metrics`)."""


@dataclass(frozen=True)
class PlainPath:
    """What a strategy did and earned, one entry a return; `marks` has one more, at its beginning."""

    returns: list[float]
    """Log returns; minus infinity at the end of an account that lost everything."""
    cash: list[float]
    """Log returns of cash."""
    held: list[bool]
    exposure: list[float]
    traded: list[float]
    marks: list[float]

    @property
    def excess(self) -> list[float]:
        return [r - c for r, c in zip(self.returns, self.cash, strict=True)]

    @property
    def ruined(self) -> bool:
        return -math.inf in self.returns


def path_of_account(marks: Sequence[Mark], cash: Sequence[float]) -> PlainPath:
    """From the equity table. A ruined account ends at its ruin, with nothing (docs/decisions/env.md)."""
    equity, returns = [marks[0].equity], []
    for mark in marks[1:]:
        lost = mark.equity <= equity[-1] * TOKEN * (1 + 1e-9)
        equity.append(0.0 if lost else mark.equity)
        returns.append(-math.inf if lost else math.log(equity[-1]) - math.log(equity[-2]))
        if lost:
            break
    rest = marks[1 : len(equity)]
    return PlainPath(
        returns=returns,
        cash=list(cash[: len(returns)]),
        held=[mark.position != 0 for mark in rest],
        exposure=[mark.exposure for mark in rest],
        traded=[mark.traded for mark in rest],
        marks=equity,
    )


def path_of_targets(positions: Sequence[int], closes: Sequence[float]) -> PlainPath:
    """Positions that were asked for, held from close to close without costs; a unit traded is a step of position."""
    returns, changes, before = [], [], 0
    for t in range(len(closes) - 1):
        returns.append(positions[t] * (math.log(closes[t + 1]) - math.log(closes[t])))
        changes.append(float(abs(positions[t] - before)))
        before = positions[t]
    held = [position != 0 for position in positions[:-1]]
    return PlainPath(returns, [0.0] * len(returns), held, [float(h) for h in held], changes, [1.0] * len(closes))


def score_account(path: PlainPath, days: int) -> dict[str, Score]:
    """Convention `account`: Sharpe is mean / std of returns less cash, the drawdown is of equity."""
    curve = [mark / path.marks[0] for mark in path.marks]
    return _score(path, ratio(mean(path.excess), deviation(path.excess), math.sqrt(days)), curve, days)


def score_investorbench(path: PlainPath, days: int) -> dict[str, Score]:
    """Convention `investorbench`: Sharpe is CR / (prices / 252) / volatility, drawdown of cumprod(1 + log return)."""
    curve = [1.0]
    for log_return in path.returns:
        curve.append(curve[-1] * (1 + log_return))
    years = len(path.marks) / MEAN_DAYS
    spread = deviation(path.returns)
    sharpe = ratio(math.fsum(path.returns) / years, spread, 1 / math.sqrt(days))
    return _score(path, sharpe, curve, days)


def _score(path: PlainPath, sharpe: Score, curve: Sequence[float], days: int) -> dict[str, Score]:
    spread, drawdown, num = deviation(path.returns), max_drawdown(curve), len(path.returns)
    return {
        "cumulative_return": None if path.ruined else math.fsum(path.returns),
        "total_return": total_return(path),
        "sharpe_ratio": sharpe,
        "sortino_ratio": sortino_ratio(path.excess, days),
        "annual_volatility": None if spread is None else spread * math.sqrt(days),
        "max_drawdown": drawdown,
        "calmar_ratio": ratio(yearly_growth(path, days), drawdown),
        "win_rate": win_rate(path),
        "exposure": mean(path.exposure),
        "num_trades": sum(traded > 0 for traded in path.traded),
        "turnover": ratio(mean(path.traded), mean(path.marks), days),
        "num_prices": num + 1,
        "num_days": num,
    }


def mean(values: Sequence[float]) -> float | None:
    """Sum over number; none of an account that lost everything, whose last return is without bound."""
    return None if -math.inf in values else math.fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float | None:
    """Root of the sum of squared deviations over n - 1; 0 where it is rounding."""
    middle = mean(values)
    if middle is None or len(values) < 2:
        return None
    spread = math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1))
    return 0.0 if spread < ROUNDING else spread


def ratio(numerator: float | None, denominator: float | None, factor: float = 1.0) -> float | None:
    """Quotient times a factor; undefined over nothing but rounding."""
    if numerator is None or denominator is None or abs(denominator) <= ROUNDING:
        return None
    return numerator / denominator * factor


def total_return(path: PlainPath) -> float:
    """Compounded: every return after the other, less 1; all is lost by a ruined account."""
    return -1.0 if path.ruined else math.exp(math.fsum(path.returns)) - 1


def yearly_growth(path: PlainPath, days: int) -> float | None:
    """(1 + total return)^(D / n) - 1; undefined where a short window compounds beyond all numbers."""
    try:
        return (1 + total_return(path)) ** (days / len(path.returns)) - 1
    except OverflowError:
        return None


def sortino_ratio(excess: Sequence[float], days: int) -> float | None:
    """Mean over the root of the mean squared loss, gains counting as 0, x sqrt(D); undefined without a loss."""
    middle = mean(excess)
    if middle is None:
        return None
    losses = math.sqrt(math.fsum(min(value, 0.0) ** 2 for value in excess) / len(excess))
    return ratio(middle, losses, math.sqrt(days))


def max_drawdown(curve: Sequence[float]) -> float:
    """Largest fall below the highest value so far, as a share of that; the first value counts."""
    highest, worst = curve[0], 0.0
    for value in curve:
        highest = max(highest, value)
        worst = max(worst, 1 - value / highest)
    return worst


def win_rate(path: PlainPath) -> float | None:
    """Sessions with a position and a positive return, over sessions with a position."""
    won = sum(held and log_return > 0 for held, log_return in zip(path.held, path.returns, strict=True))
    return ratio(won, sum(path.held))


def cash_returns(days: Sequence[Day], terms: Terms) -> list[float]:
    """Log return of cash over each night: the yearly rate compounded by calendar time, years of 365 days."""
    nights = [(later.closes_at - earlier.closes_at) / YEAR for earlier, later in pairwise(days)]
    return [math.log(1 + terms.cash_rate) * years for years in nights]


def sum_accounts(accounts: Mapping[str, Sequence[Mark]]) -> list[Mark]:
    """One strategy's accounts of all symbols as one; between its sessions a symbol stays as it was.

    Before its first session a symbol has its money and nothing else; a ruined account is worth nothing. The position is
    the number of symbols with one, the exposure the share of all equity that is in them.
    """
    dates = sorted({mark.session for marks in accounts.values() for mark in marks})
    rows = {symbol: _on_dates(marks, dates) for symbol, marks in accounts.items()}
    total: list[Mark] = []
    for t, session in enumerate(dates):
        here = [marks[t] for marks in rows.values()]
        equity = math.fsum(mark.equity for mark in here)
        invested = math.fsum(mark.exposure * mark.equity for mark in here)
        log_return = None
        if total:
            log_return = math.log(equity / total[-1].equity) if equity > 0 and total[-1].equity > 0 else -math.inf
        exposure = invested / equity if equity > 0 else 0.0
        traded = math.fsum(mark.traded for mark in here)
        total.append(Mark(session, equity, sum(m.position != 0 for m in here), log_return, traded, exposure))
    return total


def _on_dates(marks: Sequence[Mark], dates: Sequence[date]) -> list[Mark]:
    """One account on the dates of all: its last row so far, without its trade; nothing once it is ruined."""
    of_date = {mark.session: mark for mark in marks}
    last = Mark(dates[0], marks[0].equity, 0, None, 0.0, 0.0)
    ruined, placed = False, []
    for session in dates:
        mark = of_date.get(session)
        traded = 0.0 if mark is None else mark.traded
        if mark is not None:
            ruined = ruined or mark.equity <= last.equity * TOKEN * (1 + 1e-9)
            last = mark
        placed.append(Mark(session, 0.0 if ruined else last.equity, last.position, None, traded, last.exposure))
    return placed


def sum_cash(saved: Saved) -> list[float]:
    """Log returns of accounts that hold cash only, all symbols added up on the dates of all."""
    accounts = {}
    for symbol, days in saved.market.items():
        worth, marks = saved.initial_cash, [Mark(days[0].session, saved.initial_cash, 0, None, 0.0, 0.0)]
        for day, earned in zip(days[1:], cash_returns(days, saved.terms), strict=True):
            worth *= math.exp(earned)
            marks.append(Mark(day.session, worth, 0, None, 0.0, 0.0))
        accounts[symbol] = marks
    total = sum_accounts(accounts)
    return [mark.log_return for mark in total[1:] if mark.log_return is not None]


def sessions_a_year(days: Sequence[Day]) -> int:
    """365 for a market that is open on weekends, else 252."""
    return 365 if any(day.session.weekday() >= 5 for day in days) else 252


Paths = dict[str, dict[str, PlainPath]]
"""By symbol and strategy."""


def account_paths(saved: Saved) -> Paths:
    """Every account of the equity table, and (as `all`) those of all symbols in one."""
    paths: Paths = {}
    for symbol, days in saved.market.items():
        cash = cash_returns(days, saved.terms)
        paths[symbol] = {name: path_of_account(saved.equity[symbol, name], cash) for name in saved.strategies}
    cash = sum_cash(saved)
    together = {name: {symbol: saved.equity[symbol, name] for symbol in saved.market} for name in saved.strategies}
    paths["all"] = {name: path_of_account(sum_accounts(accounts), cash) for name, accounts in together.items()}
    return paths


def days_by_symbol(saved: Saved) -> dict[str, int]:
    """Sessions in a year; all symbols together never close where one of them never does."""
    days = {symbol: sessions_a_year(sessions) for symbol, sessions in saved.market.items()}
    return {**days, "all": max(days.values())}


Scores = dict[str, dict[str, dict[str, Score]]]
"""By symbol, strategy and metric."""


def recompute_account(saved: Saved) -> Scores:
    """Every score of the convention `account`, those of `all` included."""
    days = days_by_symbol(saved)
    return {
        symbol: {name: score_account(path, days[symbol]) for name, path in paths.items()}
        for symbol, paths in account_paths(saved).items()
    }


def recompute_investorbench(saved: Saved) -> Scores:
    """Every score of the convention `investorbench`."""
    scores: Scores = {}
    for symbol, sessions in saved.market.items():
        closes, days = [day.close for day in sessions], sessions_a_year(sessions)
        scores[symbol] = {}
        for name in saved.strategies:
            decisions: Sequence[Decision] = saved.decisions[symbol, name]
            positions = asked_positions(decisions, len(closes), saved.terms.long_short)
            scores[symbol][name] = score_investorbench(path_of_targets(positions, closes), days)
    return scores
