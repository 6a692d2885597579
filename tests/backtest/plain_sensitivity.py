"""How a result depends on costs, delay and size, in plain loops over the positions that were asked for."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from plain_account import TOKEN, Mark, fill_at, replay, towards
from plain_files import Saved
from plain_inference import Values, earned, targets_of
from plain_scorer import cash_returns, days_by_symbol, deviation, mean, ratio


def recompute_sensitivity(saved: Saved) -> Values:
    """Every number of the sensitivity file."""
    costs, share = saved.sensitivity["cost_bps"], saved.sensitivity["participation"]
    rows: dict[str, Values] = {}
    for symbol in saved.market:
        rows[symbol] = {}
        for name in saved.strategies:
            targets = targets_of(saved, symbol, name)
            curve = [_at_cost(saved, symbol, targets, bps) for bps in costs]
            rows[symbol][name] = {
                "cost_curve": curve,
                "lagged": _lagged(saved, symbol, targets),
                "capacity": _capacity(saved, symbol, targets, share),
            }
    return {"cost_bps": costs, "participation": share, "symbols": rows}


def _at_cost(saved: Saved, symbol: str, targets: Sequence[int], bps: float) -> float | None:
    """Log return at other costs; none of a ruined account."""
    terms = replace(saved.terms, cost=bps / 10_000)
    marks = replay(saved.market[symbol], terms, saved.initial_cash, towards(targets))
    return None if is_ruined(marks) else earned(saved, symbol, targets, terms)


def is_ruined(marks: Sequence[Mark]) -> bool:
    """Whether an account was left with a token of its equity."""
    return any(after.equity <= before.equity * TOKEN * (1 + 1e-9) for before, after in pairwise(marks))


def _lagged(saved: Saved, symbol: str, targets: Sequence[int]) -> Values:
    """Scores with every decision one session later; none of a ruined account."""
    days = saved.market[symbol]
    marks = replay(days, saved.terms, saved.initial_cash, towards([0, *targets[:-1]]))
    if is_ruined(marks):
        return {"cumulative_return": None, "sharpe_ratio": None}
    returns = [mark.log_return for mark in marks if mark.log_return is not None]
    excess = [r - c for r, c in zip(returns, cash_returns(days, saved.terms), strict=True)]
    year = math.sqrt(days_by_symbol(saved)[symbol])
    return {"cumulative_return": math.fsum(returns), "sharpe_ratio": ratio(mean(excess), deviation(excess), year)}


def _capacity(saved: Saved, symbol: str, targets: Sequence[int], share: float) -> float | None:
    """Initial cash x share of the volume x the smallest value of a session's volume over the value traded in it."""
    days, terms = saved.market[symbol], replace(saved.terms, max_participation=None)
    marks, smallest = replay(days, terms, saved.initial_cash, towards(targets)), math.inf
    for t, mark in enumerate(marks):
        if mark.traded > 0:
            price, volume = fill_at(days, t, terms.fill)
            if volume is None:
                return None
            smallest = min(smallest, volume * price / mark.traded)
    return None if smallest == math.inf else saved.initial_cash * share * smallest
