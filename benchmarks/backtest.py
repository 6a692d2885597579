"""Seconds of a whole backtest besides the language model: replays, scores, tests, audit, plots and report.

A rule that reads nothing stands in for the policy; everything else is what `kedro run --pipeline=backtest` does,
without Kedro and MLflow. The base market, 150 sessions.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl

from flag_kedro.backtest.audit import audit_causality, choose_cuts
from flag_kedro.backtest.benchmark import TrialSharpes, add_intervals, compare_to_benchmark, draw_windows
from flag_kedro.backtest.config import BacktestConfig
from flag_kedro.backtest.counterfactual import shift_percentiles
from flag_kedro.backtest.plots import plot_drawdown, plot_equity, plot_rolling_sharpe
from flag_kedro.backtest.plots_scores import plot_cost_curve, plot_intervals
from flag_kedro.backtest.plots_trades import plot_probabilities, plot_trades
from flag_kedro.backtest.replay import Replay
from flag_kedro.backtest.report import write_report
from flag_kedro.backtest.scores import describe_convention, score_strategies
from flag_kedro.backtest.sensitivity import sensitivity_of_targets
from flag_kedro.data.config import DataConfig, WindowsConfig
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import Decisions, States
from flag_kedro.experiments.cached_policy import CachedPolicy
from flag_kedro.experiments.strategies import Strategies, join_replays
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_state import build_market_states
from flag_kedro.names import POLICY

WINDOWS = WindowsConfig(
    train=(date(2019, 1, 2), date(2021, 12, 28)),
    validation=(date(2021, 12, 29), date(2022, 12, 28)),
    test=(date(2022, 12, 29), date(2023, 8, 4)),
)


def reads_nothing(states: States) -> Decisions:
    """Trade about every tenth session, by the length of the prompt."""
    scores = np.array([[len(prefix) % 10 == 0, 0.5, len(prefix) % 10 == 5] for prefix in states.prefix], dtype=float)
    probabilities = np.where(states.action_mask, scores, 0.0)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Decisions(probabilities.argmax(axis=1), probabilities, np.zeros(len(states)))


def main() -> None:
    """Run every step once and print its seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    seconds: dict[str, float] = {}

    def timed(name: str, step: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = step()
        seconds[name] = time.perf_counter() - started
        return result

    data, env, backtest, features = DataConfig(windows=WINDOWS), EnvConfig(), BacktestConfig(), FeaturesConfig()
    market = simulate_market(None, SimulatedConfig(), seed=0)
    states, _ = build_market_states(market.prices, market.news, **asdict(features))
    split = MarketSplit.of(states, data, env)
    evaluation, policy = split.evaluation, CachedPolicy(reads_nothing)
    strategies = Strategies({POLICY: lambda: policy}, None, split, 0)
    played = timed("replay", lambda: strategies.play(market.prices, states))
    decisions, equity = join_replays(played)

    def score() -> dict[str, Any]:
        draws = draw_windows(equity, backtest.bootstrap_draws, 0)
        scored = {}
        for name in ("account", "investorbench"):
            args = (decisions, equity, evaluation.marks, evaluation.calendars, name)
            convention = asdict(describe_convention(name, evaluation.dates, evaluation.env, evaluation.calendars))
            results = add_intervals(score_strategies(*args), *args, draws)
            scored[name] = {"convention": convention, "results": results}
        return {**scored["account"], "other_convention": scored["investorbench"]}

    def compare() -> dict[str, Any]:
        shifts = shift_percentiles(evaluation.window, evaluation.env, evaluation.targets(decisions))
        draws = draw_windows(equity, backtest.bootstrap_draws, 0)
        comparison = compare_to_benchmark(
            decisions, equity, evaluation.calendars, draws, trials=TrialSharpes({}), shift_percentiles=shifts
        )
        return asdict(comparison)

    def audit() -> dict[str, Any]:
        decided_at = pl.concat(table.select("symbol", "session", "decided_at") for table in states.values())
        decided_at = decided_at.filter(pl.col("session").is_between(*WINDOWS.test))

        def play(prices: pl.DataFrame, news: pl.DataFrame, until: datetime | None) -> dict[str, Replay]:
            return strategies.play(prices, build_market_states(prices, news, **asdict(features))[0], until=until)

        cuts = choose_cuts(decided_at["decided_at"], backtest.audit_times, 0)
        return asdict(audit_causality(market.prices, market.news, decided_at, played, play, cuts, 0))

    metrics, inference = timed("scores and intervals", score), timed("tests and time shifts", compare)
    sensitivity = timed(
        "costs, lag, capacity",
        lambda: asdict(
            sensitivity_of_targets(evaluation.window, env, evaluation.targets(decisions), evaluation.calendars)
        ),
    )
    audited = timed("causality audit", audit)
    if not audited["passed"]:
        raise SystemExit("the audit failed; its time means nothing")
    shown = metrics["convention"]
    timed(
        "plots",
        lambda: (
            plot_equity(equity, shown),
            plot_drawdown(equity, shown),
            plot_rolling_sharpe(equity, shown),
            plot_intervals(metrics, inference),
            plot_cost_curve(sensitivity, shown),
            plot_trades(decisions, equity, states, shown),
            plot_probabilities(decisions, shown),
        ),
    )
    timed(
        "report",
        lambda: write_report(
            decisions=decisions,
            equity=equity,
            backtest_metrics=metrics,
            inference=inference,
            sensitivity=sensitivity,
            audit=audited,
            market_states=states,
            facts={},
        ),
    )
    seconds["all"] = sum(seconds.values())
    sessions = int(evaluation.window.num_sessions.max())
    if arguments.json:
        print(json.dumps({"symbols": len(states), "sessions": sessions, "seconds": seconds}))
        return
    print(
        f"{len(states)} symbols x {sessions} sessions x {len(strategies)} strategies, {backtest.bootstrap_draws} draws"
    )
    for name, value in seconds.items():
        print(f"{name:24s}{value:8.2f} s")


if __name__ == "__main__":
    main()
