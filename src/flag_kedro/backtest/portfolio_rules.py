"""Portfolios without a language model, to hold one against; each knows prices up to the session it decides at.

Buy and hold (equal parts at the start) and the best symbol in hindsight are bought once, the others are rebalanced
every month of 21 sessions and drift in between.

Shape legend: S = symbols, T = sessions of the window, P = sessions before it.
"""

from collections.abc import Callable

import numpy as np

from flag_kedro.backtest.portfolio_replay import Weigh
from flag_kedro.env.account import Floats
from flag_kedro.env.states import States
from flag_kedro.errors import DataError
from flag_kedro.names import BENCHMARK

REBALANCED = 21
"""Sessions between two changes of a rule's weights."""
LOOK_BACK = 126
"""Sessions of returns that a rule estimates from, at most."""
FEWEST = 40
RISK_AVERSION = 3.0
"""Of mean-variance, on returns of a year."""
YEAR = 252
EQUAL_WEIGHT, INVERSE_VOLATILITY, MINIMUM_VARIANCE, MEAN_VARIANCE, HINDSIGHT = (
    "equal_weight",
    "inverse_volatility",
    "minimum_variance",
    "mean_variance",
    "best_in_hindsight",
)
Estimate = Callable[[Floats], Floats]
"""From simple returns so far, [sessions, S], to weights [S], none below 0, that sum to 1 at most."""


def portfolio_rules(closes: Floats, num_before: int) -> dict[str, Weigh]:
    """All rules by name.

    Args:
        closes: of each symbol, before the window and in it, [S, P + T].
        num_before: P.

    Raises:
        DataError: when there are too few sessions before the window to estimate from.
    """
    if num_before < FEWEST:
        raise DataError(f"portfolio rules estimate from {FEWEST} sessions before the window; there are {num_before}")
    returns = (closes[:, 1:] / closes[:, :-1] - 1.0).T
    equal, once = np.full(len(closes), 1.0 / len(closes)), closes.shape[1]
    best = np.eye(len(closes))[int(np.argmax(closes[:, -1] / closes[:, num_before]))]
    monthly: dict[str, Estimate] = {
        EQUAL_WEIGHT: lambda seen: equal,
        INVERSE_VOLATILITY: inverse_volatility,
        MINIMUM_VARIANCE: minimum_variance,
        MEAN_VARIANCE: mean_variance,
    }
    rules = {BENCHMARK: _every(once, lambda seen: equal, returns, num_before)}
    rules |= {name: _every(REBALANCED, estimate, returns, num_before) for name, estimate in monthly.items()}
    return rules | {HINDSIGHT: _every(once, lambda seen: best, returns, num_before)}


def inverse_volatility(returns: Floats) -> Floats:
    """Weights in proportion to one over the deviation of returns [sessions, S]."""
    inverse = 1.0 / np.maximum(returns.std(axis=0, ddof=1), np.finfo(np.float64).tiny)
    weights: Floats = inverse / inverse.sum()
    return weights


def minimum_variance(returns: Floats) -> Floats:
    """Weights, none below 0, that sum to 1 and have the least variance (Ledoit and Wolf's shrunk covariance, 2004)."""
    covariance = shrunk_covariance(returns)
    return _best(
        lambda weights: float(weights @ covariance @ weights), lambda weights: 2.0 * covariance @ weights, returns
    )


def mean_variance(returns: Floats) -> Floats:
    """Weights, none below 0, of the largest mean less `RISK_AVERSION` / 2 of the variance, a year.

    Means are shrunk half way to their average (towards Jorion 1986), covariances as Ledoit and Wolf do.
    """
    means = YEAR * returns.mean(axis=0)
    means = 0.5 * means + 0.5 * means.mean()
    covariance = YEAR * shrunk_covariance(returns)
    return _best(
        lambda weights: float(0.5 * RISK_AVERSION * weights @ covariance @ weights - weights @ means),
        lambda weights: RISK_AVERSION * covariance @ weights - means,
        returns,
    )


def shrunk_covariance(returns: Floats) -> Floats:
    """Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices", [S, S]."""
    from sklearn.covariance import ledoit_wolf

    covariance: Floats = ledoit_wolf(returns)[0]
    return covariance


def _best(loss: Callable[[Floats], float], gradient: Callable[[Floats], Floats], returns: Floats) -> Floats:
    """Weights in [0, 1] that sum to 1 and minimise `loss`."""
    from scipy.optimize import minimize  # takes long to import

    num = returns.shape[1]
    scale = 1.0 / max(float(returns.var(axis=0).mean()), np.finfo(np.float64).tiny)
    found = minimize(
        lambda weights: scale * loss(weights),
        np.full(num, 1.0 / num),
        jac=lambda weights: scale * gradient(weights),
        method="SLSQP",
        bounds=[(0.0, 1.0)] * num,
        constraints=[{"type": "eq", "fun": lambda weights: weights.sum() - 1.0, "jac": lambda weights: np.ones(num)}],
        options={"maxiter": 500, "ftol": 1e-12},
    )
    weights = np.clip(found.x, 0.0, None)
    kept: Floats = weights / weights.sum()
    return kept


def _every(sessions: int, estimate: Estimate, returns: Floats, num_before: int) -> Weigh:
    """Ask for new weights every so many sessions, and for nothing in between.

    Args:
        sessions: between two changes.
        estimate: the weights.
        returns: of all sessions but the first, [P + T - 1, S].
        num_before: P.
    """
    session = 0

    def weigh(states: States, held: Floats) -> Floats | None:
        nonlocal session
        due, seen = session % sessions == 0, num_before + session  # returns up to this session's close
        session += 1
        return estimate(returns[max(0, seen - LOOK_BACK) : seen])[None] if due else None

    return weigh
