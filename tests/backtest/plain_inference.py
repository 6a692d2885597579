"""What of a backtest's tests needs no random draw, in plain loops, each from its line in docs/metrics.md.

P-values and intervals of bootstraps are read from the saved file where something else is made of them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import NormalDist
from typing import Any

from plain_account import asked_positions, replay, towards
from plain_files import Decision, Saved, Terms
from plain_scorer import (
    PlainPath,
    account_paths,
    days_by_symbol,
    deviation,
    mean,
    ratio,
)

POLICY, BENCHMARK = "flag_trader", "buy_and_hold"
RIVALS = ("text_ridge", "text_linear_ppo", "untrained_lm", "zero_shot_lm", "calibrated_lm")
LEVEL, COLLAPSED = 0.05, 0.95
EQUAL = 1e-12
"""Log returns this close are equal but for rounding."""
Values = dict[str, Any]


def recompute_inference(saved: Saved) -> Values:
    """`pooled` and `symbols` of the inference file, without what random draws decide."""
    paths, days = account_paths(saved), days_by_symbol(saved)
    shifts = {symbol: {name: _shifts(saved, symbol, name) for name in saved.strategies} for symbol in saved.market}
    shifts["all"] = {name: _shift_together([shifts[s][name] for s in saved.market]) for name in saved.strategies}
    rows = {s: {n: _compare(saved, paths[s], n, s, days[s], shifts[s][n]) for n in _others(saved)} for s in paths}
    for name in _others(saved):
        _correct(saved, rows, name, ["all"])
        _correct(saved, rows, name, list(saved.market))
    return {"pooled": rows.pop("all"), "symbols": rows}


def saved_row(saved: Saved, symbol: str, name: str) -> Values:
    """A strategy's row of the inference file."""
    rows = saved.inference["pooled"] if symbol == "all" else saved.inference["symbols"][symbol]
    return dict(rows[name])


def _others(saved: Saved) -> list[str]:
    return [name for name in saved.strategies if name != BENCHMARK]


def _compare(
    saved: Saved, paths: Mapping[str, PlainPath], name: str, symbol: str, days: int, shifts: "PlainShifts"
) -> Values:
    path, benchmark = paths[name], paths[BENCHMARK]
    probable = None if path.ruined or benchmark.ruined else probabilistic_sharpe_ratio(path.excess)
    trials = saved.inference["num_trials"] if name == POLICY else 1
    assert trials in (None, 1), "the ratio of several trials is not plain"
    rivals = [other for other in RIVALS if other in paths] if name == POLICY else []
    return {
        "sharpe_difference": {"value": difference(sharpe(path, days), sharpe(benchmark, days))},
        "cash_difference": {"value": sharpe(path, days)},
        "win_rate_difference": {"value": difference(share_won(path), share_won(benchmark))},
        "shift_percentile": None if path.ruined else shifts.percentile,
        "shift_p_value": None if path.ruined else shifts.p_value,
        "probabilistic_sharpe_ratio": probable,
        "deflated_sharpe_ratio": None if trials is None else probable,  # one trial has nothing to be deflated for
        "num_trials": trials,
        "effective_trials": None if trials is None else 1.0,
        "min_track_record": None if path.ruined or benchmark.ruined else min_track_record(path.excess),
        "sessions_needed": sessions_needed(path, benchmark),
        "collapse": collapse(saved, symbol, name),
        "rivals": {
            "differences": {r: {"value": difference(sharpe(path, days), sharpe(paths[r], days))} for r in rivals}
        },
    }


def difference(own: float | None, other: float | None) -> float | None:
    return None if own is None or other is None else own - other


def sharpe(path: PlainPath, days: int) -> float | None:
    """Annualised, of returns less cash; none of an account that lost everything."""
    return ratio(mean(path.excess), deviation(path.excess), math.sqrt(days))


def share_won(path: PlainPath) -> float | None:
    """Share of all sessions with a position and a positive return."""
    won = sum(held and r > 0 for held, r in zip(path.held, path.returns, strict=True))
    return None if path.ruined else won / len(path.returns)


def _moments(values: Sequence[float]) -> tuple[float, float] | None:
    """Sharpe ratio per session, and 1 - skewness x SR + (kurtosis - 1) / 4 x SR^2."""
    spread = deviation(values)
    middle = mean(values)
    if not spread or middle is None:
        return None
    num, own = len(values), middle / spread
    second, third, fourth = (math.fsum((value - middle) ** k for value in values) / num for k in (2, 3, 4))
    skewness, kurtosis = third / second**1.5, fourth / second**2
    return own, 1 - skewness * own + (kurtosis - 1) / 4 * own**2


def probabilistic_sharpe_ratio(values: Sequence[float]) -> float | None:
    """Normal probability of SR x sqrt(n - 1) / sqrt(the variance of `_moments`)."""
    moments = _moments(values)
    if moments is None or moments[1] < 1e-10:
        return None
    return 0.5 * math.erfc(-moments[0] * math.sqrt(len(values) - 1) / math.sqrt(moments[1]) / math.sqrt(2))


def min_track_record(values: Sequence[float]) -> int | None:
    """1 + that variance x (z_0.95 / SR)^2, rounded up; never where the ratio is not positive."""
    moments = _moments(values)
    if moments is None or moments[1] < 1e-10 or moments[0] <= 0:
        return None
    return math.ceil(1 + moments[1] * (NormalDist().inv_cdf(0.95) / moments[0]) ** 2)


def sessions_needed(path: PlainPath, benchmark: PlainPath) -> int | None:
    """n x ((z_0.975 + z_0.8) x se / difference)^2, rounded up, with the prewhitened error of Newey and West."""
    gap = difference(sharpe(path, 1), sharpe(benchmark, 1))
    if gap is None or abs(gap) < 1e-10:
        return None
    own, other = _influence(path.excess), _influence(benchmark.excess)
    error = prewhitened_error([a - b for a, b in zip(own, other, strict=True)])
    z = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)
    return math.ceil(len(own) * (z * error / gap) ** 2)


def _influence(values: Sequence[float]) -> list[float]:
    """How each return moves the ratio: z - SR / 2 x (z^2 - 1), all with the deviation over n."""
    middle = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((value - middle) ** 2 for value in values) / len(values))
    own = middle / spread
    return [z - own / 2 * (z**2 - 1) for z in ((value - middle) / spread for value in values)]


def prewhitened_error(values: Sequence[float]) -> float:
    """Error of the mean: of the residuals of a first-order autoregression, over 1 - coefficient (Andrews, Monahan)."""
    num, middle = len(values), math.fsum(values) / len(values)
    centred = [value - middle for value in values]
    if num < 20:
        return math.sqrt(max(bartlett_sum(centred), 0.0)) / num
    squares = math.fsum(c * c for c in centred[:-1])
    slope = math.fsum(after * before for before, after in pairwise(centred)) / squares if squares > 0 else 0.0
    slope = min(max(slope, -0.97), 0.97)
    residuals = [after - slope * before for before, after in pairwise(centred)]
    return math.sqrt(max(bartlett_sum(residuals), 0.0) / (num * (num - 1))) / (1 - slope)


def bartlett_sum(values: Sequence[float]) -> float:
    """Products of values with themselves up to L before, weighted 1 - k / (L + 1), L = floor(4 (n / 100)^(2 / 9))."""
    num = len(values)
    total, lags = math.fsum(c * c for c in values), min(math.floor(4 * (num / 100) ** (2 / 9)), num - 1)
    for lag in range(1, lags + 1):
        total += 2 * (1 - lag / (lags + 1)) * math.fsum(values[t] * values[t - lag] for t in range(lag, num))
    return total


def collapse(saved: Saved, symbol: str, name: str) -> Values:
    """Shares of actions and of positions asked for, and their entropies; those of `all` over all symbols."""
    decisions: list[Decision] = []
    positions: list[int] = []
    for one in saved.market if symbol == "all" else [symbol]:
        of_symbol = saved.decisions[one, name]
        decisions += of_symbol
        positions += asked_positions(of_symbol, len(of_symbol), saved.terms.long_short)
    num = len(decisions)
    actions = {a: sum(decision.action == a for decision in decisions) / num for a in ("sell", "hold", "buy")}
    agreements = {held: positions.count(held) / num for held in (1, 0, -1)}
    chances = [decision.probabilities for decision in decisions if decision.probabilities is not None]
    called = {BENCHMARK: 1, "flat": 0, "short": -1}
    return {
        "actions": actions,
        "agreement_long": agreements[1],
        "agreement_flat": agreements[0],
        "agreement_short": agreements[-1],
        "action_entropy": entropy(list(actions.values())),
        "policy_entropy": math.fsum(map(entropy, chances)) / num if chances else None,
        "collapsed_to": next((who for who, held in called.items() if agreements[held] >= COLLAPSED), None),
    }


def entropy(chances: Sequence[float]) -> float:
    """-sum p ln p, in nats."""
    return -math.fsum(p * math.log(p) for p in chances if p > 0)


def _correct(saved: Saved, rows: Mapping[str, Values], name: str, symbols: Sequence[str]) -> None:
    """Add each symbol's p-value of no lead, by Holm and by Benjamini and Hochberg, and whether it is a lead."""
    leads = {symbol: _lead(saved_row(saved, symbol, name), rows[symbol][name]) for symbol in symbols}
    ordered = sorted(symbols, key=lambda symbol: _or_one(leads[symbol]))
    num, holm, rates = len(ordered), {}, {}
    highest, lowest = 0.0, 1.0
    for rank, symbol in enumerate(ordered):
        highest = max(highest, min(1.0, (num - rank) * _or_one(leads[symbol])))
        holm[symbol] = highest
    for rank, symbol in reversed(list(enumerate(ordered, start=1))):
        lowest = min(lowest, num / rank * _or_one(leads[symbol]))
        rates[symbol] = lowest
    for symbol, lead in leads.items():
        row = rows[symbol][name]
        row["correction"], row["proven_ahead"] = None, False
        if lead is None:
            continue
        row["correction"] = {"p_value": lead, "num_tests": num, "holm": holm[symbol]}
        row["correction"]["false_discovery_rate"] = rates[symbol]
        survives = row["num_trials"] == 1 or (row["deflated_sharpe_ratio"] or 0.0) >= 1 - LEVEL
        row["proven_ahead"] = holm[symbol] <= LEVEL and row["collapse"]["collapsed_to"] is None and survives


def _or_one(p_value: float | None) -> float:
    return 1.0 if p_value is None else p_value


def _lead(saved: Values, row: Values) -> float | None:
    """The largest of the three p-values, 1 where a difference is not positive."""
    p_values = [row["shift_p_value"]]
    for test in ("sharpe_difference", "cash_difference"):
        value, p_value = row[test]["value"], saved[test]["p_value"]
        p_values.append(None if value is None or p_value is None else p_value if value > 1e-9 else 1.0)
    return None if None in p_values else max(p_values)


def targets_of(saved: Saved, symbol: str, name: str) -> list[int]:
    num = len(saved.market[symbol])
    return asked_positions(saved.decisions[symbol, name], num, saved.terms.long_short)


def earned(saved: Saved, symbol: str, targets: Sequence[int], terms: Terms) -> float:
    """Log return of a whole path of positions."""
    marks = replay(saved.market[symbol], terms, saved.initial_cash, towards(targets))
    return math.log(marks[-1].equity / marks[0].equity)


@dataclass(frozen=True)
class PlainShifts:
    """What a path of positions (the first) and its shifts around the window earned, without costs and caps."""

    log_returns: list[float]
    changes: bool
    """Else every shift is the path itself, and nothing can be said."""

    @property
    def percentile(self) -> float | None:
        """Share of the other shifts that earned less than the first, ties half."""
        own, others = self.log_returns[0], self.log_returns[1:]
        below = math.fsum(1.0 if x < own - EQUAL else 0.5 if x <= own + EQUAL else 0.0 for x in others)
        return below / len(others) if self.changes else None

    @property
    def p_value(self) -> float | None:
        """Share of all that earned at least as much as the first."""
        reached = sum(x >= self.log_returns[0] - EQUAL for x in self.log_returns)
        return reached / len(self.log_returns) if self.changes else None


def _shifts(saved: Saved, symbol: str, name: str) -> PlainShifts:
    """The last decision is filled no more, so it is not shifted."""
    free = replace(saved.terms, cost=0.0, max_participation=None)
    path = targets_of(saved, symbol, name)[:-1]
    if len(set(path)) == 1:
        return PlainShifts([earned(saved, symbol, path, free)] * len(path), False)
    around = [path[len(path) - k :] + path[: len(path) - k] for k in range(len(path))]
    return PlainShifts([earned(saved, symbol, shifted, free) for shifted in around], True)


def _shift_together(shifts: Sequence[PlainShifts]) -> PlainShifts:
    """All symbols shifted by the same part of a round, with as much money in each; the longest gives the steps."""
    num = max(len(shift.log_returns) for shift in shifts)
    together = []
    for k in range(num):
        grown = [math.exp(s.log_returns[k * len(s.log_returns) // num]) for s in shifts]
        together.append(math.log(math.fsum(grown) / len(grown)))
    return PlainShifts(together, any(shift.changes for shift in shifts))
