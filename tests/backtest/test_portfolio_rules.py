"""Portfolios of prices alone: optimal by their conditions, by hand, and blind to what comes later."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest

from flag_kedro.backtest.portfolio_replay import replay_portfolio
from flag_kedro.backtest.portfolio_rules import (
    RISK_AVERSION,
    inverse_volatility,
    mean_variance,
    minimum_variance,
    portfolio_rules,
    shrunk_covariance,
)
from flag_kedro.env.config import EnvConfig, PortfolioConfig
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import DataError

BEFORE, IN = 60, 45


@pytest.fixture
def returns() -> np.ndarray:
    """Four symbols with a common factor and different risks, [250, 4]."""
    generator = np.random.default_rng(1)
    common = generator.normal(0.0, 0.01, (250, 1))
    return common * [0.5, 1.0, 1.5, 1.0] + generator.normal(0.0003, 1.0, (250, 4)) * [0.004, 0.008, 0.02, 0.01]


@pytest.fixture
def closes() -> np.ndarray:
    drawn = np.random.default_rng(2).normal(0.0005, [[0.005], [0.01], [0.02]], (3, BEFORE + IN))
    return 100.0 * np.exp(np.cumsum(drawn, axis=1))


def conditions(weights: np.ndarray, gradient: np.ndarray) -> None:
    """Karush, Kuhn and Tucker: equal gradients where a weight is above 0, larger ones elsewhere."""
    assert weights.sum() == pytest.approx(1.0)
    assert weights.min() >= 0.0
    held = weights > 1e-6
    price = gradient[held].mean()
    np.testing.assert_allclose(gradient[held], price, rtol=1e-3, atol=1e-6 * np.abs(gradient).max())
    assert (gradient[~held] >= price - 1e-6 * np.abs(gradient).max()).all()


def test_minimum_variance_meets_its_conditions(returns: np.ndarray):
    weights = minimum_variance(returns)
    conditions(weights, shrunk_covariance(returns) @ weights)
    assert 0.0 < (weights > 1e-6).mean() < 1.0


def test_mean_variance_meets_its_conditions(returns: np.ndarray):
    weights = mean_variance(returns)
    means = 252 * returns.mean(axis=0)
    means = (means + means.mean()) / 2
    conditions(weights, RISK_AVERSION * 252 * shrunk_covariance(returns) @ weights - means)


@pytest.mark.parametrize("seed", range(3))
def test_pyportfolioopt_finds_the_same_weights(seed: int):
    pypfopt = pytest.importorskip(
        "pypfopt", reason="PyPortfolioOpt is not installed: pip install PyPortfolioOpt==1.6.0"
    )
    generator = np.random.default_rng(seed)
    common = generator.normal(0.0, 0.01, (250, 1))
    returns = common * generator.uniform(0.3, 1.5, 5) + generator.normal(
        0.0003, generator.uniform(0.004, 0.02, 5), (250, 5)
    )
    daily = pypfopt.risk_models.CovarianceShrinkage(pd.DataFrame(returns), returns_data=True, frequency=1).ledoit_wolf()
    np.testing.assert_allclose(shrunk_covariance(returns), daily, rtol=1e-10)
    cautious = pypfopt.EfficientFrontier(None, 252 * daily, solver="CLARABEL")
    np.testing.assert_allclose(minimum_variance(returns), list(cautious.min_volatility().values()), atol=1e-4)
    means = 252 * returns.mean(axis=0)
    bold = pypfopt.EfficientFrontier((means + means.mean()) / 2, 252 * daily, solver="CLARABEL")
    found = list(bold.max_quadratic_utility(risk_aversion=RISK_AVERSION).values())
    np.testing.assert_allclose(mean_variance(returns), found, atol=1e-4)


def test_two_uncorrelated_symbols_are_held_by_the_inverse_of_their_variance():
    first = np.tile([0.01, -0.01], 200)
    second = np.tile([0.02, 0.02, -0.02, -0.02], 100)
    returns = np.stack([first, second], axis=1)
    covariance = shrunk_covariance(returns)
    expected = np.array([covariance[1, 1], covariance[0, 0]]) / np.trace(covariance)
    np.testing.assert_allclose(minimum_variance(returns), expected, atol=1e-4)
    np.testing.assert_allclose(inverse_volatility(returns), [2 / 3, 1 / 3], atol=1e-3)


def window_of(make_window: Callable[..., TradingWindow], closes: np.ndarray) -> TradingWindow:
    inside = closes[:, BEFORE:]
    return make_window("next_close", **dict(zip("ABC", inside, strict=True)))


def replayed(
    make_window: Callable[..., TradingWindow], closes: np.ndarray, name: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    rule = portfolio_rules(closes, BEFORE)[name]
    env, portfolio = EnvConfig(cost_bps=10, slippage_bps=0, fill="next_close"), PortfolioConfig()
    found = replay_portfolio(name, window_of(make_window, closes), env, portfolio, rule)
    return found.weights, found.equity


@pytest.mark.parametrize("name", ["equal_weight", "inverse_volatility", "minimum_variance", "mean_variance"])
def test_rules_trade_once_a_month_and_do_not_see_ahead(
    make_window: Callable[..., TradingWindow], closes: np.ndarray, name: str
):
    weights, equity = replayed(make_window, closes, name)
    traded = np.flatnonzero(equity["traded_value"].to_numpy())
    months = [1, 22, 43]
    assert traded.tolist() == months if name != "mean_variance" else set(traded) <= set(months)  # all in one: kept
    assert weights["target"].count() == 3 * len(months)
    changed = closes.copy()
    changed[:, BEFORE + 30 :] *= np.array([[1.0], [2.0], [0.5]])
    later, _ = replayed(make_window, changed, name)
    until = pl.col("session") <= weights["session"].unique().sort()[29]
    assert weights.filter(until).equals(later.filter(until))


def test_equal_weights_by_hand_and_the_best_in_hindsight(make_window: Callable[..., TradingWindow], closes: np.ndarray):
    _, equity = replayed(make_window, closes, "buy_and_hold")
    grown = (closes[:, -1] / closes[:, BEFORE + 1]).mean() / 1.001
    assert equity["equity"][-1] == pytest.approx(100_000 * grown)
    _, equity = replayed(make_window, closes, "best_in_hindsight")
    growth = closes[:, -1] / closes[:, BEFORE]
    bought = closes[:, -1] / closes[:, BEFORE + 1] / 1.001
    assert equity["equity"][-1] == pytest.approx(100_000 * bought[np.argmax(growth)])
    weights, equity = replayed(make_window, closes, "equal_weight")
    first = equity["equity"][1:22].to_numpy()
    by_hand = 100_000 / 1.001 * (closes[:, BEFORE + 1 : BEFORE + 22] / closes[:, [BEFORE + 1]]).mean(axis=0)
    np.testing.assert_allclose(first, by_hand)
    assert weights["target"].count() == 3 * 3
    assert weights.height == 3 * IN


def test_too_little_history_is_refused(closes: np.ndarray):
    with pytest.raises(DataError, match="estimate from 40 sessions before the window; there are 39"):
        portfolio_rules(closes, 39)


def test_where_only_events_may_trade_a_rule_buys_at_the_first_one(
    make_window: Callable[..., TradingWindow], closes: np.ndarray
):
    window = window_of(make_window, closes)
    kinds = np.zeros(window.mark_prices.shape, dtype=np.int64)
    kinds[1, 5] = kinds[0, 30] = 1
    env = EnvConfig(cost_bps=10, slippage_bps=0, fill="next_close", decide_on="events")
    for name, expected in (("buy_and_hold", [6]), ("equal_weight", [6, 31])):
        rule = portfolio_rules(closes, BEFORE)[name]
        found = replay_portfolio(name, replace(window, event_kinds=kinds), env, PortfolioConfig(), rule)
        assert np.flatnonzero(found.equity["traded_value"].to_numpy()).tolist() == expected
