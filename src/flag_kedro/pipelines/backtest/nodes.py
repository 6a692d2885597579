"""Nodes of the backtest pipeline that replay, score and compare."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.backtest.benchmark import TrialSharpes, compare_to_benchmark
from flag_kedro.backtest.calibration import calibrate
from flag_kedro.backtest.config import BacktestConfig, Convention
from flag_kedro.backtest.counterfactual import shift_in_time
from flag_kedro.backtest.factor_exposure import read_factors, regress_on_factors
from flag_kedro.backtest.market_exposure import regress_on_market
from flag_kedro.backtest.pooled import ReplayedStrategies
from flag_kedro.backtest.scores import describe_convention
from flag_kedro.backtest.sensitivity import sensitivity_of_targets
from flag_kedro.backtest.trials import (
    ScoredTrial,
    score_trial,
    scored_sharpes,
    spread_over_seeds,
    trial_correlations,
    validated_sharpes,
)
from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.experiments.strategies import Strategies, join_replays
from flag_kedro.experiments.yardstick import Yardstick, measure_yardstick
from flag_kedro.names import ALL_SYMBOLS, POLICY
from flag_kedro.pipelines.progress import progress_bar
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.tracking.inputs import log_windows
from flag_kedro.tracking.log import log_metrics, set_tags, tag_training_run
from flag_kedro.tracking.scores import flatten_scores, glance_at_calibration, glance_at_difference, glance_at_scores
from flag_kedro.tracking.trials import count_trials, count_validated, record_trial

CONVENTIONS: tuple[Convention, ...] = ("account", "investorbench")


def replay_strategies(
    prices: pl.DataFrame, split: MarketSplit, strategies: Strategies, policy: Path
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """Replay the policy and the baselines over the test window, and note what language models were asked."""
    set_tags({"data_hash": split.data_hash})
    tag_training_run(folder_hash(policy))
    log_windows(split, "test")
    with progress_bar("replaying", len(strategies) * int(split.test.num_sessions.max())) as advance:
        replays = strategies.play(prices, split.states, on_step=advance)
    decisions, equity = join_replays(replays)
    record_trial(_trial(equity, split, policy), " ".join(split.evaluation.dates))  # whoever has looked has tried
    return decisions, equity, strategies.describe(replays)


def _trial(equity: pl.DataFrame, split: MarketSplit, policy: Path) -> ScoredTrial:
    """The policy as a trial of the test window."""
    paths = equity.filter(pl.col("strategy") == POLICY).partition_by("symbol", as_dict=True)
    log_returns = {str(symbol): path["log_return"].drop_nulls().to_numpy() for (symbol,), path in paths.items()}
    description = json.loads((policy / "policy.json").read_text())
    return score_trial(description, folder_hash(policy), log_returns, split.evaluation, split.states)


def score_backtest(
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    split: MarketSplit,
    language_models: dict[str, Any],
    data: DataConfig,
    news: NewsConfig,
    simulated: SimulatedConfig,
    backtest: BacktestConfig,
    seed: int,
) -> dict[str, Any]:
    """Score all strategies in both conventions, with intervals; `results` holds the one asked for.

    `market` names the source, `pooled` holds the scores of the account of all symbols, whatever the convention,
    `yardstick` what the optimal policy of a simulated market earns, `language_models` what was noted when they were
    asked.
    """
    evaluation, replayed = split.evaluation, _replayed(decisions, equity, split)
    draws = replayed.draw(backtest.bootstrap_draws, seed)
    scored: dict[str, dict[str, Any]] = {}
    for name in CONVENTIONS:
        convention = asdict(describe_convention(name, evaluation.dates, split.env, evaluation.calendars))
        scored[name] = {"convention": convention, "results": replayed.score(evaluation.marks, name, draws)}
    pooled = replayed.pooled.score({}, "account", draws)[ALL_SYMBOLS]
    other = "investorbench" if backtest.convention == "account" else "account"
    results = scored[backtest.convention]["results"]
    yardstick = measure_yardstick(equity, split, data, news, simulated)
    scores = flatten_scores({**results, ALL_SYMBOLS: pooled}) | glance_at_scores(pooled) | _shares(yardstick)
    log_metrics(scores, 0, int(time.time() * 1000))
    return {
        "market": split.market,
        **scored[backtest.convention],
        "pooled": pooled,
        "yardstick": None if yardstick is None else asdict(yardstick),
        "language_models": language_models,
        "other_convention": scored[other],
    }


def _shares(yardstick: Yardstick | None) -> dict[str, float]:
    """Metrics of MLflow's run: each strategy's share of what the optimal policy expects."""
    shares = {} if yardstick is None else yardstick.shares
    return {f"backtest/{ALL_SYMBOLS}/{strategy}/share_of_optimal": share for strategy, share in shares.items()}


def _replayed(decisions: pl.DataFrame, equity: pl.DataFrame, split: MarketSplit) -> ReplayedStrategies:
    evaluation = split.evaluation
    marked, cash_returns = evaluation.mark_forced(decisions), evaluation.cash_returns
    return ReplayedStrategies(marked, equity, evaluation.calendars, cash_returns, evaluation.long_short)


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
    trial = _trial(equity, split, policy)
    trials = count_trials(trial, window)
    validated = count_validated(split.states, evaluation.dates, trials)
    replayed = _replayed(decisions, equity, split)
    counted = trials or [trial]
    tried = TrialSharpes(scored_sharpes(counted), validated_sharpes(validated), trial_correlations(counted))
    comparison = compare_to_benchmark(
        replayed,
        replayed.draw(backtest.bootstrap_draws, seed),
        trials=None if trials is None else tried,
        shifts=shift_in_time(
            evaluation.window, evaluation.env, evaluation.targets(decisions), evaluation.stopped(decisions)
        ),
    )
    inference = asdict(comparison)
    judged = {ALL_SYMBOLS: inference["pooled"], **inference["symbols"]}
    tests = {symbol: {POLICY: rows[POLICY]} for symbol, rows in judged.items()}
    difference = glance_at_difference(inference["pooled"][POLICY]["sharpe_difference"])
    log_metrics(flatten_scores(tests) | difference, 0, int(time.time() * 1000))
    num_trials = None if trials is None else len(trials) + len(validated)
    spread = spread_over_seeds(trial, counted, evaluation.calendars)
    seeds = {symbol: {name: asdict(summary) for name, summary in rows.items()} for symbol, rows in spread.items()}
    calibration = calibrate(decisions, evaluation.window, long_short=evaluation.long_short)
    cash, calendar = (replayed.pooled.cash_returns or {}).get(ALL_SYMBOLS), replayed.pooled.calendars[ALL_SYMBOLS]
    market = regress_on_market(equity, cash, calendar)
    factors = {}
    if backtest.factors is not None:
        factors = regress_on_factors(equity, read_factors(backtest.factors), cash, calendar)
    told = {
        "calibration": {strategy: asdict(each) for strategy, each in calibration.items()},
        "market_exposure": {strategy: asdict(each) for strategy, each in market.items()},
        "factor_exposure": {strategy: asdict(each) for strategy, each in factors.items()},
    }
    log_metrics(glance_at_calibration(told), 0, int(time.time() * 1000))
    return inference | told | {"num_trials": num_trials, "seeds": seeds}
