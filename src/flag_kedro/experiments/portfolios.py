"""A trained portfolio beside rules that know prices alone: replayed, scored and compared.

Shape legend: S = symbols, n = returns of the window.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from flag_kedro.backtest.audit import states_until
from flag_kedro.backtest.draws import Draws, draw_windows, sessions_by_path
from flag_kedro.backtest.pooled import ReplayedStrategies
from flag_kedro.backtest.portfolio_replay import PortfolioReplay, Weigh, replay_portfolio
from flag_kedro.backtest.portfolio_rules import FEWEST, HINDSIGHT, portfolio_rules
from flag_kedro.backtest.replay import DECISIONS, ReadAhead
from flag_kedro.backtest.scores import days_per_year
from flag_kedro.backtest.sharpe_tests import sharpe_difference
from flag_kedro.env.account import Floats
from flag_kedro.env.config import EnvConfig, PortfolioConfig
from flag_kedro.env.portfolio import require_common_sessions
from flag_kedro.env.split import MarketSplit
from flag_kedro.errors import DataError, ParameterError
from flag_kedro.names import ALL_SYMBOLS, POLICY
from flag_kedro.ppo.config import PPOConfig


def replay_portfolios(
    split: MarketSplit,
    portfolio: PortfolioConfig,
    policy: Weigh,
    read_ahead: ReadAhead | None = None,
    on_step: Callable[[], None] | None = None,
    leave_out: tuple[str, ...] = (),
    until: datetime | None = None,
) -> dict[str, PortfolioReplay]:
    """Replay the policy and the rules over the test window, by strategy.

    Args:
        split: the market.
        portfolio: gross limit and threshold of the policy; rules have no threshold.
        policy: what is trained.
        read_ahead: of the policy.
        on_step: called after each session of each.
        leave_out: rules that are not replayed.
        until: decisions up to this time are replayed; rules are given all prices, so that one which peeks has something
            to see.

    Raises:
        DataError: when symbols trade on different sessions, or too few came before the window.
    """
    closes, num_before = closes_around(split)
    window = split.test
    if until is not None:
        window = split.with_states(states_until(split.states, until)).cut(split.windows.test)
    replays = {POLICY: replay_portfolio(POLICY, window, split.env, portfolio, policy, on_step, read_ahead)}
    plain = PortfolioConfig()  # rules are invested whole, whatever the policy may
    for name, rule in portfolio_rules(closes, num_before).items():
        if name not in leave_out:
            replays[name] = replay_portfolio(name, window, split.env, plain, rule, on_step)
    return replays


def check_portfolio(split: MarketSplit, env: EnvConfig, ppo: PPOConfig) -> None:
    """Refuse what a portfolio cannot be trained or judged on, before anything is trained.

    Raises:
        DataError: when symbols trade on different sessions of a window, or too few came before the test window.
        ParameterError: for parameters that a portfolio does not know.
    """
    for window in (split.train, split.validation, split.test):
        if window is not None:
            require_common_sessions(window)
    _, num_before = closes_around(split)
    if num_before < FEWEST:
        raise DataError(
            f"portfolio rules estimate from {FEWEST} sessions before the test window; there are {num_before}"
        )
    if env.max_participation is not None:
        raise ParameterError(
            "env.max_participation is not known to portfolios, whose orders are filled whole; set it to null"
        )
    if ppo.min_entropy is not None:
        raise ParameterError("ppo.min_entropy is of three actions; the entropy of weights is below 0: set it to null")


def closes_around(split: MarketSplit) -> tuple[Floats, int]:
    """Closes of the test window's symbols on common sessions up to its end, [S, P + T], and P.

    Sessions before the window that a symbol lacks are left out for all.
    """
    first, last = split.windows.test
    tables = [
        split.states[symbol].filter(pl.col("session") <= last).select("session", pl.col("mark_price").alias(symbol))
        for symbol in split.test.symbols
    ]
    joined = tables[0]
    for table in tables[1:]:
        joined = joined.join(table, on="session", how="inner")
    joined = joined.sort("session")
    closes = joined.drop("session").to_numpy().T.copy()
    return closes, int((joined["session"] < first).sum())


def score_portfolios(
    weights: pl.DataFrame, equity: pl.DataFrame, split: MarketSplit, num_draws: int, seed: int
) -> dict[str, Any]:
    """Scores with intervals, differences of Sharpe ratios to the policy's, and what each symbol contributed.

    Args:
        weights: of all portfolios, one behind the other.
        equity: theirs.
        split: the market.
        num_draws: of the stationary bootstrap over sessions.
        seed: of the draws.
    """
    calendar = next(iter(split.calendars.values()))
    cash = split.evaluation.cash_returns
    own_cash = None if cash is None else {ALL_SYMBOLS: cash[split.test.symbols[0]]}
    draws = draw_windows(equity, num_draws, seed, own_cash)
    nothing = pl.DataFrame(schema=DECISIONS)
    strategies = ReplayedStrategies(nothing, equity, {ALL_SYMBOLS: calendar}, own_cash)
    scores = strategies.score({}, "account", draws)[ALL_SYMBOLS]
    return {
        "market": split.market,
        "window": [day.isoformat() for day in split.windows.test],
        "symbols": list(split.test.symbols),
        "scores": scores,
        "differences": _differences(equity, own_cash, draws, days_per_year(calendar)),
        "in_hindsight": [HINDSIGHT],
        "mean_weights": _mean_weights(weights),
        "contributions": contributions(weights, equity, split),
    }


def _differences(
    equity: pl.DataFrame, cash: Mapping[str, Floats] | None, draws: Draws, days: int
) -> dict[str, dict[str, Any]]:
    """The policy's Sharpe ratio less each rule's (Ledoit and Wolf 2008)."""
    paths = sessions_by_path(equity, cash)[ALL_SYMBOLS]
    own, indices = paths[POLICY], draws.indices[ALL_SYMBOLS]
    if own.ruined:
        return {}
    return {
        name: asdict(sharpe_difference(own.excess, path.excess, days, indices))
        for name, path in paths.items()
        if name != POLICY and not path.ruined
    }


def _mean_weights(weights: pl.DataFrame) -> dict[str, dict[str, float]]:
    """Mean weight of each symbol at the closes of the window, by strategy."""
    means = weights.group_by("strategy", "symbol", maintain_order=True).agg(pl.col("weight").mean())
    found: dict[str, dict[str, float]] = {}
    for strategy, symbol, value in means.rows():
        found.setdefault(strategy, {})[symbol] = value
    return found


def contributions(weights: pl.DataFrame, equity: pl.DataFrame, split: MarketSplit) -> dict[str, float]:
    """What each symbol added to the policy's return, simple returns added up.

    That is its weight at each close times its return to the next one; trades in between and costs are the rest, under
    `trading`.
    """
    own = weights.filter(pl.col("strategy") == POLICY)
    path = equity.filter(pl.col("strategy") == POLICY)["equity"].to_numpy()
    found: dict[str, float] = {}
    for s, symbol in enumerate(split.test.symbols):
        held = own.filter(pl.col("symbol") == symbol)["weight"].to_numpy()
        marks = split.test.mark_prices[s, : len(held)]
        found[symbol] = float((held[:-1] * (marks[1:] / marks[:-1] - 1.0)).sum())
    total = float((path[1:] / path[:-1] - 1.0).sum())
    return found | {"trading": total - float(np.sum(list(found.values())))}
