"""Calibration and exposure on numbers by hand, and against scikit-learn and plain linear algebra."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from flag_kedro.backtest.calibration import calibrate
from flag_kedro.backtest.market_exposure import regress_on_market
from flag_kedro.backtest.replay import DECISIONS, EQUITY
from flag_kedro.env.window import TradingWindow

DAYS = [date(2024, 1, 1) + timedelta(days=number) for number in range(400)]


@pytest.fixture
def make(make_window: Callable[..., TradingWindow]) -> Callable[..., TradingWindow]:
    def build(opens: list[float]) -> TradingWindow:
        return make_window("next_open", A=(opens, opens))

    return build


def told(window: TradingWindow, rows: list[tuple[float, float, float, int]], strategy: str = "p") -> pl.DataFrame:
    """Decisions of one symbol with these probabilities and positions."""
    days = window.sessions[0]
    table = [(strategy, "A", day, "hold", *row[:3], 0.0, row[3]) for day, row in zip(days, rows, strict=True)]
    return pl.DataFrame(table, schema=DECISIONS, orient="row")


def test_a_probability_is_held_against_the_next_fill_to_fill(make: Callable[..., TradingWindow]):
    """Opens 10, 11, 10, 12, 12: after decision 0 the price falls (11 to 10), after 1 it rises, after 2 it stays."""
    window = make([10, 11, 10, 12, 12])
    rows = [(0.0, 0.3, 0.7, 0), (0.2, 0.8, 0.0, 1), (0.4, 0.6, 0.0, 1), (0.5, 0.5, 0.0, 0), (0.1, 0.9, 0.0, 0)]
    found = calibrate(told(window, rows), window, long_short=False)["p"]
    assert found.num_decisions == 3
    assert found.brier == pytest.approx((0.7**2 + 0.2**2 + 0.6**2) / 3)
    assert found.brier_constant == pytest.approx(2 / 9)
    assert found.skill == pytest.approx(1 - (0.89 / 3) / (2 / 9))
    assert [(each.probability, each.rose, each.num) for each in found.bins] == [
        (0.6, 0.0, 1),
        (0.7, 0.0, 1),
        (0.8, 1.0, 1),
    ]
    assert found.expected_error == pytest.approx((0.6 + 0.7 + 0.2) / 3)


def test_what_keeps_an_account_flat_that_could_go_short_says_neither(make: Callable[..., TradingWindow]):
    window = make([10, 11, 10, 12, 12])
    rows = [(0.2, 0.4, 0.4, 0), (0.0, 0.3, 0.7, -1), (0.4, 0.6, 0.0, 1), (0, 1, 0, 0), (0, 1, 0, 0)]
    found = calibrate(told(window, rows), window, long_short=True)["p"]
    assert sorted(each.probability for each in found.bins) == pytest.approx([0.6, 0.6, 0.7][: len(found.bins)], abs=0.1)
    assert found.brier == pytest.approx((0.6**2 + 0.3**2 + 0.6**2) / 3)


@pytest.fixture
def many(make: Callable[..., TradingWindow]) -> tuple[TradingWindow, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    opens = (100 * np.exp(np.cumsum(generator.normal(0, 0.01, 400)))).tolist()
    window = make(opens)
    rose = np.array([opens[t + 2] > opens[t + 1] for t in range(398)])
    return window, generator.random(400), rose


def test_scores_are_scikit_learns(many: tuple[TradingWindow, np.ndarray, np.ndarray]):
    window, p, rose = many
    found = calibrate(told(window, [(0.0, 1 - each, each, 0) for each in p]), window, long_short=False)["p"]
    assert found.brier == pytest.approx(brier_score_loss(rose, p[:-2]))
    share, mean = calibration_curve(rose, p[:-2], n_bins=10, strategy="quantile")
    assert [each.probability for each in found.bins] == pytest.approx(mean.tolist(), abs=2e-3)
    assert [each.rose for each in found.bins] == pytest.approx(share.tolist(), abs=0.03)
    assert sum(each.num for each in found.bins) == 398


def test_who_knows_is_calibrated_and_better_and_who_draws_is_not(many: tuple[TradingWindow, np.ndarray, np.ndarray]):
    window, p, rose = many
    sure = np.append(np.where(rose, 0.9, 0.1), [0.5, 0.5])
    knows = calibrate(told(window, [(0.0, 1 - each, each, 0) for each in sure]), window, long_short=False)["p"]
    assert knows.improvement_ci95[0] > 0.2
    assert knows.brier == pytest.approx(0.01)
    draws = calibrate(told(window, [(0.0, 1 - each, each, 0) for each in p]), window, long_short=False)["p"]
    assert draws.improvement_ci95[1] < 0.0
    assert draws.expected_error > 0.15


def test_rules_without_probabilities_have_none(make: Callable[..., TradingWindow]):
    window = make([10, 11, 10, 12, 12])
    table = told(window, [(0.0, 1.0, 0.0, 0)] * 5).with_columns(prob_buy=pl.lit(None, pl.Float64))
    assert calibrate(table, window, long_short=False) == {}


def account(strategy: str, returns: np.ndarray) -> pl.DataFrame:
    """Equity of one symbol with these simple returns."""
    path = 100.0 * np.concatenate([[1.0], np.cumprod(1.0 + returns)])
    days = DAYS[: len(path)]
    rows: list[Any] = [(strategy, "A", day, value, 1, None, 0.0, 1.0) for day, value in zip(days, path, strict=True)]
    return pl.DataFrame(rows, schema=EQUITY, orient="row")


def test_half_the_market_and_a_little_more_is_told_as_that():
    generator = np.random.default_rng(1)
    market, cash = generator.normal(0.0005, 0.01, 300), np.full(300, 0.0001)
    exact = account("p", np.expm1(cash) + 0.0002 + 0.5 * (market - np.expm1(cash)))
    found = regress_on_market(pl.concat([exact, account("buy_and_hold", market)]), cash)["p"]
    assert (found.alpha, found.beta, found.r_squared) == pytest.approx((0.0002 * 252, 0.5, 1.0))
    noisy = account("p", 0.5 * market + generator.normal(0.0, 0.005, 300))
    found = regress_on_market(pl.concat([noisy, account("buy_and_hold", market)]))["p"]
    returns = noisy["equity"].to_numpy()
    own = returns[1:] / returns[:-1] - 1
    slope, intercept = np.polyfit(market, own, 1)
    assert (found.beta, found.alpha) == pytest.approx((slope, intercept * 252))


def test_intervals_of_alpha_and_beta_cover_what_they_say():
    generator, covered = np.random.default_rng(3), np.zeros(2)
    for _ in range(200):
        market = generator.normal(0.0, 0.01, 250)
        own = 0.5 * market + generator.normal(0.0002, 0.005, 250)
        found = regress_on_market(pl.concat([account("p", own), account("buy_and_hold", market)]))["p"]
        covered += [
            found.alpha_ci95[0] < 0.0002 * 252 < found.alpha_ci95[1],
            found.beta_ci95[0] < 0.5 < found.beta_ci95[1],
        ]
    assert (covered / 200 >= 0.89).all()  # four standard errors below 95 %
    assert (covered / 200 < 1.0).all()


def test_ruined_idle_and_short_accounts_have_no_exposure():
    generator = np.random.default_rng(2)
    market = account("buy_and_hold", generator.normal(0, 0.01, 50))
    ruined = account("ruined", np.concatenate([np.full(20, 0.01), [-0.99999], np.zeros(29)]))
    assert set(regress_on_market(pl.concat([market, ruined, account("idle", np.zeros(50))]))) == set()
    short = generator.normal(0, 0.01, 10)
    assert regress_on_market(pl.concat([account("buy_and_hold", short), account("p", short)])) == {}
