"""Nodes of the backtest pipeline that replay, score and compare."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.backtest.benchmark import TrialSharpes, add_intervals, compare_to_benchmark, draw_windows
from flag_kedro.backtest.config import BacktestConfig, Convention
from flag_kedro.backtest.counterfactual import shift_percentiles
from flag_kedro.backtest.scores import describe_convention, score_strategies
from flag_kedro.backtest.sensitivity import sensitivity_of_targets
from flag_kedro.backtest.trials import score_trial, scored_sharpes, spread_over_seeds, validated_sharpes
from flag_kedro.env.split import MarketSplit
from flag_kedro.experiments.strategies import Strategies, join_replays
from flag_kedro.names import POLICY
from flag_kedro.pipelines.progress import progress_bar
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.tracking.log import log_metrics, set_tags, tag_training_run
from flag_kedro.tracking.scores import flatten_scores
from flag_kedro.tracking.trials import count_trials, count_validated, record_trial

CONVENTIONS: tuple[Convention, ...] = ("account", "investorbench")


def replay_strategies(
    prices: pl.DataFrame, split: MarketSplit, strategies: Strategies, policy: Path
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Replay the policy and the baselines over the test window."""
    set_tags({"data_hash": split.data_hash})
    tag_training_run(folder_hash(policy))
    with progress_bar("replaying", len(strategies) * int(split.test.num_sessions.max())) as advance:
        return join_replays(strategies.play(prices, split.states, on_step=advance))


def score_backtest(
    decisions: pl.DataFrame, equity: pl.DataFrame, split: MarketSplit, backtest: BacktestConfig, seed: int
) -> dict[str, Any]:
    """Score all strategies in both conventions, with intervals; `results` holds the one asked for."""
    evaluation = split.evaluation
    draws = draw_windows(equity, backtest.bootstrap_draws, seed, evaluation.cash_returns)
    scored: dict[str, dict[str, Any]] = {}
    for name in CONVENTIONS:
        args = (decisions, equity, evaluation.marks, evaluation.calendars, name)
        results = score_strategies(*args, evaluation.cash_returns, long_short=evaluation.long_short)
        convention = asdict(describe_convention(name, evaluation.dates, split.env, evaluation.calendars))
        with_intervals = add_intervals(results, *args, draws, evaluation.cash_returns, long_short=evaluation.long_short)
        scored[name] = {"convention": convention, "results": with_intervals}
    other = "investorbench" if backtest.convention == "account" else "account"
    log_metrics(flatten_scores(scored[backtest.convention]["results"]), 0, int(time.time() * 1000))
    return {**scored[backtest.convention], "other_convention": scored[other]}


def sensitivity_of_backtest(decisions: pl.DataFrame, split: MarketSplit) -> dict[str, Any]:
    """Cost curve, one-session lag and capacity of every strategy."""
    evaluation = split.evaluation
    targets = evaluation.targets(decisions)
    return asdict(sensitivity_of_targets(evaluation.window, evaluation.env, targets, evaluation.calendars))


def compare_backtest(
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    split: MarketSplit,
    policy: Path,
    backtest: BacktestConfig,
    seed: int,
) -> dict[str, Any]:
    """Test every strategy against buy and hold, count the trials so far, and look for collapse."""
    evaluation = split.evaluation
    window = " ".join(evaluation.dates)
    paths = equity.filter(pl.col("strategy") == POLICY).partition_by("symbol", as_dict=True)
    log_returns = {str(symbol): path["log_return"].drop_nulls().to_numpy() for (symbol,), path in paths.items()}
    description = json.loads((policy / "policy.json").read_text())
    trial = score_trial(description, folder_hash(policy), log_returns, evaluation, split.states)
    trials = count_trials(trial, window)
    validated = count_validated(split.states, evaluation.dates, trials)
    comparison = compare_to_benchmark(
        decisions,
        equity,
        evaluation.calendars,
        draw_windows(equity, backtest.bootstrap_draws, seed, evaluation.cash_returns),
        trials=None if trials is None else TrialSharpes(scored_sharpes(trials), validated_sharpes(validated)),
        shift_percentiles=shift_percentiles(evaluation.window, evaluation.env, evaluation.targets(decisions)),
        cash_returns=evaluation.cash_returns,
        long_short=evaluation.long_short,
    )
    inference = asdict(comparison)
    record_trial(trial, window)
    tests = {symbol: {POLICY: rows[POLICY]} for symbol, rows in inference["symbols"].items()}
    log_metrics(flatten_scores(tests), 0, int(time.time() * 1000))
    num_trials = None if trials is None else len(trials) + len(validated)
    spread = spread_over_seeds(trial, trials or [trial], evaluation.calendars)
    seeds = {symbol: {name: asdict(summary) for name, summary in rows.items()} for symbol, rows in spread.items()}
    return inference | {"num_trials": num_trials, "seeds": seeds}
