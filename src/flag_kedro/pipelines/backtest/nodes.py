"""Nodes of the backtest pipeline. torch is imported inside, so that listing pipelines stays quick."""

import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.backtest.benchmark import TrialSharpes, add_intervals, compare_to_benchmark, draw_windows
from flag_kedro.backtest.config import BacktestConfig, Convention
from flag_kedro.backtest.counterfactual import shift_percentiles
from flag_kedro.backtest.replay import Replay
from flag_kedro.backtest.scores import describe_convention, score_strategies
from flag_kedro.backtest.sensitivity import sensitivity_of_targets
from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.pipelines.backtest.judged import evaluation_window
from flag_kedro.pipelines.backtest.strategies import Strategies, open_strategies
from flag_kedro.pipelines.backtest.trials import (
    count_attempts,
    count_trials,
    sharpes_of,
    spread_over_seeds,
    this_trial,
    tried_sharpes_of,
    with_attempt,
)
from flag_kedro.pipelines.facts import MarketFacts, check_market, market_facts, training_facts, windows_of
from flag_kedro.pipelines.progress import progress_bar
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.tracking.log import log_metrics, set_tags, tag_training_run
from flag_kedro.tracking.scores import flatten_scores
from flag_kedro.tracking.trials import record_trial

logger = logging.getLogger(__name__)
CONVENTIONS: tuple[Convention, ...] = ("account", "investorbench")


def replay_strategies(
    prices: pl.DataFrame,
    market_states: dict[str, pl.DataFrame],
    found_facts: MarketFacts,
    backbone: Path,
    policy: Path,
    text_baseline: Path,
    sb3_baseline: Path | None,
    trunk_cache: Path,
    data: DataConfig,
    news: NewsConfig,
    simulated: SimulatedConfig,
    features: FeaturesConfig,
    env: EnvConfig,
    runtime: RuntimeConfig,
    seed: int,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Replay the policy and the baselines over the test window."""
    check_market(found_facts, market_facts(data, news, simulated, features))
    strategies = open_for(
        market_states, backbone, policy, text_baseline, sb3_baseline, trunk_cache, data, env, runtime, seed
    )
    set_tags({"data_hash": training_facts(market_states, data, env)["data_hash"]})
    tag_training_run(folder_hash(policy))
    sessions = int(evaluation_window(market_states, data, env).window.num_sessions.max())
    with progress_bar("replaying", len(strategies) * sessions) as advance:
        played = strategies.play(prices, market_states, on_step=advance)
    return tables_of(played)


def score_backtest(
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    market_states: dict[str, pl.DataFrame],
    data: DataConfig,
    env: EnvConfig,
    backtest: BacktestConfig,
    seed: int,
) -> dict[str, Any]:
    """Score all strategies in both conventions, with intervals; `results` holds the one asked for."""
    judged = evaluation_window(market_states, data, env)
    draws = draw_windows(equity, backtest.bootstrap_draws, seed, judged.cash_returns)
    scored: dict[str, dict[str, Any]] = {}
    for name in CONVENTIONS:
        args = (decisions, equity, judged.marks, judged.calendars, name)
        results = score_strategies(*args, judged.cash_returns, long_short=judged.long_short)
        convention = asdict(describe_convention(name, judged.dates, judged.env, judged.calendars))
        with_intervals = add_intervals(results, *args, draws, judged.cash_returns, long_short=judged.long_short)
        scored[name] = {"convention": convention, "results": with_intervals}
    other = "investorbench" if backtest.convention == "account" else "account"
    log_metrics(flatten_scores(scored[backtest.convention]["results"]), 0, int(time.time() * 1000))
    return {**scored[backtest.convention], "other_convention": scored[other]}


def sensitivity_of_backtest(
    decisions: pl.DataFrame,
    market_states: dict[str, pl.DataFrame],
    data: DataConfig,
    env: EnvConfig,
) -> dict[str, Any]:
    """Cost curve, one-session lag and capacity of every strategy."""
    judged = evaluation_window(market_states, data, env)
    return asdict(sensitivity_of_targets(judged.window, judged.env, judged.targets(decisions), judged.calendars))


def compare_backtest(
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    market_states: dict[str, pl.DataFrame],
    policy: Path,
    data: DataConfig,
    env: EnvConfig,
    backtest: BacktestConfig,
    seed: int,
) -> dict[str, Any]:
    """Test every strategy against buy and hold, count the trials so far, and look for collapse."""
    judged = evaluation_window(market_states, data, env)
    window = " ".join(judged.dates)
    trial = with_attempt(this_trial(policy, equity, judged), policy, market_states, judged.dates)
    trials = count_trials(trial, window)
    attempts = count_attempts(market_states, judged.dates, trials)
    comparison = compare_to_benchmark(
        decisions,
        equity,
        judged.calendars,
        draw_windows(equity, backtest.bootstrap_draws, seed, judged.cash_returns),
        trials=None if trials is None else TrialSharpes(sharpes_of(trials), tried_sharpes_of(attempts)),
        shift_percentiles=shift_percentiles(judged.window, judged.env, judged.targets(decisions)),
        cash_returns=judged.cash_returns,
        long_short=judged.long_short,
    )
    inference = asdict(comparison)
    record_trial(trial, window)
    tests = {symbol: {"flag_trader": rows["flag_trader"]} for symbol, rows in inference["symbols"].items()}
    log_metrics(flatten_scores(tests), 0, int(time.time() * 1000))
    seeds = spread_over_seeds(trial, trials or [trial], judged.calendars)
    num_trials = None if trials is None else len(trials) + len(attempts)
    return inference | {"num_trials": num_trials, "seeds": seeds}


def open_for(
    market_states: dict[str, pl.DataFrame],
    backbone: Path,
    policy: Path,
    text_baseline: Path,
    sb3_baseline: Path | None,
    trunk_cache: Path,
    data: DataConfig,
    env: EnvConfig,
    runtime: RuntimeConfig,
    seed: int,
) -> Strategies:
    """Open all policies for the run's windows and the fill that the data allow; see `open_strategies`."""
    facts, windows = training_facts(market_states, data, env), windows_of(market_states, data)
    actual = evaluation_window(market_states, data, env).env
    return open_strategies(
        policy, backbone, text_baseline, sb3_baseline, trunk_cache, facts, actual, windows, runtime, seed
    )


def tables_of(played: dict[str, Replay]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Decisions and equity of all strategies, one below the other."""
    return pl.concat([part.decisions for part in played.values()]), pl.concat([part.equity for part in played.values()])
