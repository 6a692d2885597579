"""The oracle of portfolios on the simulated market: one account over all symbols, by who knows the rule.

At each close it knows what the headlines of the last `horizon` decisions are expected to move yet, and the average
drift; of later headlines it expects nothing, their mean. Costs and expected returns are linear in weights and a
session's noise is small beside a headline, so the best weights are a corner: everything in one symbol, long or short,
or cash. It plans `AHEAD` sessions with costs (dynamic programming over the position) and does the plan's first step. A
plan without later headlines trades at the wrong costs: those after which it would soon trade again count too little. So
costs in plans are multiplied by what earned most on the training window's headlines, in expectation.

It is a feasible policy and no bound. A bound is what the same gains pay who knows all of them in advance: no policy
that learns of headlines as they come out can expect more.

Shape legend: S = symbols, T = sessions, K = sessions ahead, C = corners: cash, the symbols long, the symbols short.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from flag_kedro.backtest.portfolio_replay import replay_portfolio
from flag_kedro.data.config import NewsConfig
from flag_kedro.data.simulated import YEAR_SESSIONS, SimulatedConfig, simulate_market
from flag_kedro.env.account import Floats, Ints
from flag_kedro.env.config import EnvConfig, PortfolioConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import States
from flag_kedro.env.window import TradingWindow
from flag_kedro.experiments.oracle import LAG
from flag_kedro.experiments.yardstick import name_market, refuse_other_prices

AHEAD = 10
"""Sessions of a plan; effects are over by then, drift pays for a purchase."""
COST_FACTORS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class PortfolioOracle:
    """What it asks for on the headlines of a window, and what they let it expect."""

    weights: Floats
    """Weights that each decision asks for, [T, S]; the last decision fills no more."""
    expected_log_return: float
    """Of mean effects and average drift, less costs; noise, sizes and regimes are left out."""
    upper_bound: float
    """The same for the best corners on what is known at each decision, all decisions of the window seen in advance."""


def ask_portfolio_oracle(
    split: MarketSplit, portfolio: PortfolioConfig, truth: pl.DataFrame, simulated: SimulatedConfig
) -> PortfolioOracle:
    """Plan on the test window, with the cost factor that was best on the training window.

    Args:
        split: a simulated market.
        portfolio: gross limit.
        truth: `data.simulated.SimulatedMarket.truth`.
        simulated: the rule.
    """
    corners = corner_weights(len(split.test.symbols), portfolio.gross, split.env)
    costs = corner_costs(corners, split.env)
    train, test = (corner_gains(window, truth, simulated, corners) for window in (split.train, split.test))
    factor = max(COST_FACTORS, key=lambda each: expect_path(follow_plans(train, costs, each), train, costs))
    path = follow_plans(test, costs, factor)
    return PortfolioOracle(
        weights=corners[path],
        expected_log_return=expect_path(path, test, costs),
        upper_bound=best_path_in_advance(test[:-1, 0], costs),
    )


def corner_weights(num_symbols: int, gross: float, env: EnvConfig) -> Floats:
    """Weights of each corner, [C, S]."""
    long = gross * np.eye(num_symbols)
    parts = [np.zeros((1, num_symbols)), long]
    return np.concatenate(parts if env.positions == "long_flat" else [*parts, -long])


def corner_costs(corners: Floats, env: EnvConfig) -> Floats:
    """Log return that it costs to go from one corner to another, [C (held), C (asked for)]."""
    traded = np.abs(corners[:, None] - corners[None]).sum(axis=2)
    costs: Floats = -np.log1p(-env.cost * traded)
    return costs


def corner_gains(window: TradingWindow, truth: pl.DataFrame, simulated: SimulatedConfig, corners: Floats) -> Floats:
    """Log return that each corner expects of the K next sessions, from what is known at each decision, [T, K, C].

    What a decision earns behind the window's last session is 0.

    Args:
        window: of common sessions.
        truth: `data.simulated.SimulatedMarket.truth`.
        simulated: the rule.
        corners: weights, [C, S].
    """
    rule, lag, days = simulated.rule(), LAG[window.fill], window.sessions[0]
    expected = np.full((len(days), AHEAD, len(window.symbols)), rule.drift / YEAR_SESSIONS)
    for s, symbol in enumerate(window.symbols):
        of_symbol = truth.filter(pl.col("symbol") == symbol)
        row_of = {day: row for row, day in enumerate(of_symbol["session"])}
        rows = np.array([row_of[day] for day in days])
        usable = np.concatenate([np.zeros(rule.horizon), of_symbol["usable"].to_numpy()])
        for age in range(rule.horizon):
            for ahead in range(max(0, rule.horizon - age - lag)):
                effect = rule.signal * rule.decay ** (age + ahead + lag)
                expected[:, ahead, s] += effect * usable[rows + rule.horizon - age]
    earned = np.arange(len(days))[:, None] + np.arange(AHEAD) + 1 + lag  # the session that pays
    expected[earned >= len(days)] = 0.0
    gains: Floats = np.log1p(np.einsum("tks,cs->tkc", np.expm1(expected), corners))
    return gains


def follow_plans(gains: Floats, costs: Floats, cost_factor: float) -> Ints:
    """The corner that each decision's plan begins with, from cash on, [T]; at the last one nothing changes.

    Args:
        gains: of corners, [T, K, C].
        costs: between corners, [C, C].
        cost_factor: by which plans multiply them.
    """
    num_sessions, _, num_corners = gains.shape
    later = np.zeros((num_sessions, num_corners))
    for ahead in reversed(range(gains.shape[1])):
        wanted = gains[:, ahead] + later
        choices = wanted[:, None, :] - cost_factor * costs  # [T, held, asked for]
        later = choices.max(axis=2)
    first: Ints = choices.argmax(axis=2)
    path, held = np.zeros(num_sessions, dtype=np.int64), 0
    for t in range(num_sessions - 1):
        path[t] = held = int(first[t, held])
    path[-1] = held
    return path


def expect_path(path: Ints, gains: Floats, costs: Floats) -> float:
    """Expected log return of the corners of a window's decisions [T], costs paid whole; the last fills no more."""
    asked = path[:-1]
    held = np.concatenate([[0], asked[:-1]])
    return float((gains[np.arange(len(asked)), 0, asked] - costs[held, asked]).sum())


def best_path_in_advance(gains: Floats, costs: Floats) -> float:
    """The largest expected log return of any corners, from cash on, where all gains [T, C] are known in advance."""
    values = np.full(gains.shape[1], -np.inf)
    values[0] = 0.0
    for row in gains:
        values = (values[:, None] - costs).max(axis=0) + row
    return float(values.max())


class GivenWeights:
    """A rule for `portfolio_replay.replay_portfolio` that asks for weights [T, S], where they change."""

    def __init__(self, weights: Floats) -> None:
        self.weights, self.session = weights, 0

    def __call__(self, states: States, held: Floats) -> Floats | None:
        """Weights [1, S], or None where those of the session before are asked for again."""
        t, self.session = self.session, self.session + 1
        same = t > 0 and bool((self.weights[t] == self.weights[t - 1]).all())
        return None if same else self.weights[t][None]


def measure_portfolio(
    equity: pl.DataFrame, split: MarketSplit, portfolio: PortfolioConfig, news: NewsConfig, simulated: SimulatedConfig
) -> dict[str, Any] | None:
    """What each portfolio took of what the oracle expects, who may trade at every session.

    Args:
        equity: columns of `backtest.replay.EQUITY`, of all strategies.
        split: the market as it was traded.
        portfolio: gross limit.
        news: the source of the articles.
        simulated: the rule.

    Returns:
        `market`, `expected_log_return`, `log_return` (replayed, noise included), `upper_bound`, and
        `shares`, each strategy's log return over what the oracle expects; None where the market is not simulated, has
        other news than its own, pays interest, or no headline moves a price.

    Raises:
        DataError: where the parameters do not draw the prices that were traded.
    """
    simulates = split.data.source == "simulated" and news.source == "own"
    if not simulates or split.env.cash_rate > 0.0 or simulated.rule().signal == 0.0:
        return None
    market = simulate_market(tuple(split.states), simulated, split.data.seed)
    refuse_other_prices(market.prices, split)
    oracle = ask_portfolio_oracle(split, portfolio, market.truth, simulated)
    at_once = replace(portfolio, threshold=0.0)
    replayed = replay_portfolio("oracle", split.test, split.env, at_once, GivenWeights(oracle.weights))
    earned = equity.group_by("strategy", maintain_order=True).agg(pl.col("log_return").sum())
    expected = oracle.expected_log_return
    return {
        "market": name_market(simulated),
        "expected_log_return": expected,
        "log_return": float(replayed.equity["log_return"].sum()),
        "upper_bound": oracle.upper_bound,
        "shares": {str(name): value / expected for name, value in earned.rows()} if expected > 0.0 else {},
    }
