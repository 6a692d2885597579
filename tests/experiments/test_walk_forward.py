"""What folds say together, by hand."""

import math
from dataclasses import asdict
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest

from flag_kedro.backtest.inference import draw_sessions
from flag_kedro.backtest.intervals import Difference
from flag_kedro.backtest.sharpe_tests import sharpe_difference
from flag_kedro.data.streams import derived_seed
from flag_kedro.env.account import RUIN_SHARE
from flag_kedro.experiments.out_of_sample import concatenate_folds, mean_paths
from flag_kedro.experiments.walk_forward import summarise_folds
from flag_kedro.experiments.walk_forward_plot import plot_walk_forward

STOCK = {"A": "XNYS"}


def row(fold: str, seed: int, days: list[str], cash: float = 0.0, **returns: tuple[list[float], list[float]]) -> Any:
    """`returns` are those of the policy and of buy and hold, by symbol."""
    return {
        "fold": fold,
        "seed": seed,
        "sessions": dict.fromkeys(returns, days),
        "log_returns": {
            name: {symbol: pair[at] for symbol, pair in returns.items()}
            for at, name in enumerate(("flag_trader", "buy_and_hold"))
        },
        "cash_returns": {symbol: [cash] * len(days) for symbol in returns},
        "scores": {
            symbol: {"flag_trader": {"cumulative_return": sum(pair[0])}, "buy_and_hold": {}}
            for symbol, pair in returns.items()
        },
    }


HELD = ([0.02, -0.01], [0.03, 0.01])
ROWS = [
    row("1", 7, ["2024-01-02", "2024-01-03"], A=([0.01, 0.03], HELD[0])),
    row("1", 8, ["2024-01-02", "2024-01-03"], A=([0.03, -0.01], HELD[0])),
    row("2", 7, ["2024-01-05", "2024-01-08"], A=([-0.02, 0.02], HELD[1])),
    row("2", 8, ["2024-01-05", "2024-01-08"], A=([0.02, 0.04], HELD[1])),
]


def test_mean_over_seeds_of_daily_log_returns_is_the_path():
    path = mean_paths(concatenate_folds(ROWS, STOCK))["A"]
    assert path.sessions == ["2024-01-02", "2024-01-03", "2024-01-05", "2024-01-08"]
    assert path.folds == ["1", "1", "2", "2"]
    assert path.flag_trader == pytest.approx([0.02, 0.01, 0.0, 0.03])
    assert path.buy_and_hold == pytest.approx([0.02, -0.01, 0.03, 0.01])


def test_scores_of_the_path_seeds_and_folds():
    summary = summarise_folds(concatenate_folds(ROWS, STOCK), 400, 0)["A"]
    policy = summary.strategies["flag_trader"]
    assert policy["cumulative_return"] == pytest.approx(0.06)
    returns = [0.02, 0.01, 0.0, 0.03]
    assert policy["sharpe_ratio"] == pytest.approx(mean(returns) / stdev(returns) * math.sqrt(252))
    assert policy["max_drawdown"] == 0.0
    assert summary.strategies["buy_and_hold"]["max_drawdown"] == pytest.approx(1 - math.exp(-0.01))
    assert summary.num_returns == 4
    earned = summary.seeds["cumulative_return"]  # 0.04 and 0.08
    assert (earned.median, earned.min, earned.max) == pytest.approx((0.06, 0.04, 0.08))
    second = summary.folds["2"]
    assert second.seeds["cumulative_return"].median == pytest.approx(0.03)  # of 0.00 and 0.06
    assert second.buy_and_hold["cumulative_return"] == pytest.approx(0.04)


def noisy_rows(num: int = 60) -> list[Any]:
    rng = np.random.default_rng(3)
    rows = []
    for fold in ("1", "2"):
        days = [f"2024-0{fold}-{t}" for t in range(num)]
        held = rng.normal(0.001, 0.01, num).tolist()
        rows += [row(fold, seed, days, A=(rng.normal(0.002, 0.01, num).tolist(), held)) for seed in (1, 2)]
    return rows


def test_the_test_of_the_difference_is_the_projects_own_on_the_same_draws():
    paths = concatenate_folds(noisy_rows(), STOCK)
    summary = summarise_folds(paths, 400, 5)["A"]
    policy, benchmark = (paths["A"].returns[name].mean(0) for name in ("flag_trader", "buy_and_hold"))
    indices, length = draw_sessions(np.stack([policy, benchmark]), 400, derived_seed(5, "bootstrap", "A"))
    assert summary.sharpe_difference == sharpe_difference(policy, benchmark, 252, indices)
    assert summary.block_length == length
    low, high = summary.strategies["flag_trader"]["sharpe_ratio_ci95"]
    assert low < summary.strategies["flag_trader"]["sharpe_ratio"] < high
    assert summary.strategies["flag_trader"]["max_drawdown_ci95"] is not None
    assert summary.strategies["flag_trader"]["cumulative_return_ci95"] is not None


def test_cash_is_taken_off_the_sharpe_ratio():
    days = ["2024-01-02", "2024-01-03", "2024-01-04"]
    rows = [row("1", 1, days, cash=0.01, A=([0.02, 0.01, 0.03], [0.0, 0.01, 0.03]))]
    summary = summarise_folds(concatenate_folds(rows, STOCK), 400, 0)["A"].strategies["flag_trader"]
    assert summary["sharpe_ratio"] == pytest.approx(0.01 / 0.01 * math.sqrt(252))


def test_all_symbols_are_the_mean_by_date_and_a_closed_market_earns_nothing():
    stock = row("1", 1, ["2024-01-05", "2024-01-08"], A=([0.02, 0.04], [0.0, 0.0]))
    coin = row("1", 1, ["2024-01-05", "2024-01-06", "2024-01-08"], B=([0.01, -0.02, 0.03], [0.0, 0.0, 0.0]))
    for part in ("sessions", "cash_returns"):
        stock[part] |= coin[part]
    for name, by_symbol in stock["log_returns"].items():
        by_symbol |= coin["log_returns"][name]
    paths = concatenate_folds([stock], {"A": "XNYS", "B": "24/7"})["all"]
    assert paths.sessions == ("2024-01-05", "2024-01-06", "2024-01-08")
    assert paths.returns["flag_trader"][0] == pytest.approx([0.015, -0.01, 0.035])
    assert paths.days == 365


def test_a_seed_that_lost_everything_takes_the_mean_with_it():
    lost = row("1", 2, ["2024-01-02", "2024-01-03"], A=([0.01, math.log(RUIN_SHARE)], HELD[0]))
    paths = concatenate_folds([ROWS[0], lost], STOCK)
    summary = summarise_folds(paths, 400, 0)["A"]
    assert summary.strategies["flag_trader"]["cumulative_return"] is None
    assert summary.strategies["flag_trader"]["max_drawdown"] == 1.0
    assert summary.strategies["flag_trader"]["cumulative_return_ci95"] is None
    assert summary.strategies["buy_and_hold"]["cumulative_return"] == pytest.approx(0.01)
    assert summary.sharpe_difference == Difference(None, None, None)
    assert summary.seeds["cumulative_return"].num == 1
    assert mean_paths(paths)["A"].flag_trader == [pytest.approx(0.01), None]


def test_plot_has_both_paths_the_borders_and_a_mark_for_each_training():
    paths = concatenate_folds(ROWS, STOCK)
    results = {
        "summary": {symbol: asdict(summary) for symbol, summary in summarise_folds(paths, 400, 0).items()},
        "paths": {symbol: asdict(path) for symbol, path in mean_paths(paths).items()},
        "rows": ROWS,
    }
    figure = plot_walk_forward(results)
    policy = next(trace for trace in figure.data if trace.name == "flag_trader" and trace.mode == "lines")
    assert list(policy.y) == pytest.approx(np.exp(np.cumsum([0.02, 0.01, 0.0, 0.03])).tolist())
    assert [shape.x0 for shape in figure.layout.shapes] == ["2024-01-05"]
    marks = next(trace for trace in figure.data if trace.type == "scatter" and trace.mode == "markers")
    assert list(marks.y) == pytest.approx([0.04, 0.02, 0.0, 0.06])
