"""Nodes of the backtest pipeline. torch is imported inside, so that listing pipelines stays quick."""

import json
import logging
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import polars as pl

from flag_kedro.backtest.audit import CORRUPTIONS, audit_causality, choose_cuts
from flag_kedro.backtest.config import BacktestConfig, Convention
from flag_kedro.backtest.counterfactual import shift_percentiles
from flag_kedro.backtest.judge import add_intervals, draw_windows, judge_strategies
from flag_kedro.backtest.plots import plot_drawdown, plot_equity, plot_rolling_sharpe
from flag_kedro.backtest.plots_scores import plot_cost_curve, plot_intervals
from flag_kedro.backtest.plots_trades import plot_probabilities, plot_trades
from flag_kedro.backtest.replay import Replay
from flag_kedro.backtest.report import account_scores_of, write_report
from flag_kedro.backtest.scores import describe_convention, score_strategies
from flag_kedro.backtest.sensitivity import weigh_sensitivity
from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.schema import DataError
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import LookAheadError
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_state import build_market_states
from flag_kedro.pipelines.backtest.judged import judged_window
from flag_kedro.pipelines.backtest.strategies import FRESH_SESSIONS, Strategies, open_strategies
from flag_kedro.pipelines.backtest.trials import count_trials, sharpes_of, spread_over_seeds, this_trial
from flag_kedro.pipelines.facts import MarketFacts, check_market, market_facts, training_facts, windows_of
from flag_kedro.pipelines.progress import progress_bar
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.tracking.log import log_metrics, set_tags, tag_training_run
from flag_kedro.tracking.trials import record_trial

logger = logging.getLogger(__name__)
UNAUDITED = ("untrained_lm",)
"""It decides as the trained one does, from the same prompts; replaying it as often would double the audit's time."""
CONVENTIONS: tuple[Convention, ...] = ("account", "investorbench")


def replay_strategies(
    prices: pl.DataFrame,
    market_states: dict[str, pl.DataFrame],
    found_facts: MarketFacts,
    backbone: Path,
    policy: Path,
    text_baseline: Path,
    sb3_baseline: Path | None,
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
    strategies = _open(market_states, backbone, policy, text_baseline, sb3_baseline, data, env, runtime, seed)
    set_tags({"data_hash": training_facts(market_states, data, env)["data_hash"]})
    tag_training_run(folder_hash(policy))
    sessions = int(judged_window(market_states, data, env).window.num_sessions.max())
    with progress_bar("replaying", len(strategies) * sessions) as advance:
        played = strategies.play(prices, market_states, on_step=advance)
    return _tables(played)


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
    judged = judged_window(market_states, data, env)
    draws = draw_windows(equity, backtest.bootstrap_draws, seed, judged.cash_returns)
    scored: dict[str, dict[str, Any]] = {}
    for name in CONVENTIONS:
        args = (decisions, equity, judged.marks, judged.calendars, name)
        results = score_strategies(*args, judged.cash_returns, long_short=judged.long_short)
        convention = describe_convention(
            name,
            judged.dates,
            judged.window.fill,
            env.cost_bps,
            env.slippage_bps,
            judged.calendars,
            cash_rate=env.cash_rate,
            positions=env.positions,
            borrow_bps_year=env.borrow_bps_year,
            max_participation=env.max_participation,
        )
        with_intervals = add_intervals(results, *args, draws, judged.cash_returns, long_short=judged.long_short)
        scored[name] = {"convention": convention, "results": with_intervals}
    other = "investorbench" if backtest.convention == "account" else "account"
    log_metrics(_flatten(scored[backtest.convention]["results"]), 0, int(time.time() * 1000))
    return {**scored[backtest.convention], "other_convention": scored[other]}


def weigh_backtest(
    decisions: pl.DataFrame,
    market_states: dict[str, pl.DataFrame],
    data: DataConfig,
    env: EnvConfig,
) -> dict[str, Any]:
    """Cost curve, one-session lag and capacity of every strategy."""
    judged = judged_window(market_states, data, env)
    return weigh_sensitivity(judged.window, judged.env, judged.targets(decisions), judged.calendars)


def judge_backtest(
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
    judged = judged_window(market_states, data, env)
    window = " ".join(judged.dates)
    trial = this_trial(policy, equity, judged)
    trials = count_trials(trial, window)
    inference = judge_strategies(
        decisions,
        equity,
        judged.calendars,
        draw_windows(equity, backtest.bootstrap_draws, seed, judged.cash_returns),
        trial_sharpes=None if trials is None else sharpes_of(trials),
        shift_percentiles=shift_percentiles(judged.window, judged.env, judged.targets(decisions)),
        cash_returns=judged.cash_returns,
        long_short=judged.long_short,
    )
    record_trial(trial, window)
    tests = {symbol: {"flag_trader": rows["flag_trader"]} for symbol, rows in inference["symbols"].items()}
    log_metrics(_flatten(tests), 0, int(time.time() * 1000))
    seeds = spread_over_seeds(trial, trials or [trial], judged.calendars)
    return inference | {"num_trials": None if trials is None else len(trials), "seeds": seeds}


def audit_backtest(
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    prices: pl.DataFrame,
    news_table: pl.DataFrame,
    market_states: dict[str, pl.DataFrame],
    backbone: Path,
    policy: Path,
    text_baseline: Path,
    sb3_baseline: Path | None,
    data: DataConfig,
    features: FeaturesConfig,
    env: EnvConfig,
    backtest: BacktestConfig,
    runtime: RuntimeConfig,
    seed: int,
) -> dict[str, Any]:
    """Repeat the backtest on tables whose future is corrupted, and compare all that was decided before."""
    opened = _open(market_states, backbone, policy, text_baseline, sb3_baseline, data, env, runtime, seed)
    strategies = opened.without(*UNAUDITED)
    decided_at = pl.concat(table.select("symbol", "session", "decided_at") for table in market_states.values())
    decided_at = decided_at.join(decisions.select("symbol", "session").unique(), on=["symbol", "session"], how="semi")
    cuts = choose_cuts(_auditable(decided_at), backtest.audit_times, seed)

    def play(prices: pl.DataFrame, news: pl.DataFrame, until: datetime | None) -> dict[str, Replay]:
        return strategies.play(prices, build_market_states(prices, news, **asdict(features))[0], until)

    with progress_bar("causality audit", 1 + len(cuts) * len(CORRUPTIONS)) as advance:
        reference = play(prices, news_table, None)
        audited = ~pl.col("strategy").is_in(UNAUDITED)
        _check_repeats(reference, decisions.filter(audited), equity.filter(audited))
        advance()
        found = audit_causality(prices, news_table, decided_at, reference, play, cuts, seed, advance)
    return found | {"asked_anew": FRESH_SESSIONS}


def draw_plots(
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    backtest_metrics: dict[str, Any],
    backtest_inference: dict[str, Any],
    backtest_sensitivity: dict[str, Any],
    market_states: dict[str, pl.DataFrame],
) -> tuple[go.Figure, ...]:
    """Draw the plots of the catalog: all symbols side by side, in the fills and costs of the account."""
    shown = account_scores_of(backtest_metrics)["convention"]
    return (
        plot_equity(equity, shown),
        plot_drawdown(equity, shown),
        plot_rolling_sharpe(equity, shown),
        plot_intervals(backtest_metrics, backtest_inference),
        plot_cost_curve(backtest_sensitivity, shown),
        plot_trades(decisions, equity, market_states, shown),
        plot_probabilities(decisions, shown),
    )


def write_backtest_report(
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    backtest_metrics: dict[str, Any],
    backtest_inference: dict[str, Any],
    backtest_sensitivity: dict[str, Any],
    causality_audit: dict[str, Any],
    market_states: dict[str, pl.DataFrame],
    policy: Path,
) -> str:
    """Write everything on one page."""
    description = json.loads((policy / "policy.json").read_text())
    facts = {
        "symbols": " ".join(market_states),
        "trained on": " to ".join(description["windows"]["train"]),
        "backbone": description["policy"]["backbone"],
        "seed": description["seed"],
        "data hash": description["data_hash"],
        "policy hash": folder_hash(policy),
    }
    return write_report(
        decisions=decisions,
        equity=equity,
        backtest_metrics=backtest_metrics,
        inference=backtest_inference,
        sensitivity=backtest_sensitivity,
        audit=causality_audit,
        market_states=market_states,
        facts=facts,
    )


def refuse_leaks(causality_audit: dict[str, Any], backtest_report: str) -> None:
    """Fail the run whose decisions depend on the future, once its report is written.

    Raises:
        LookAheadError: when the audit found a difference.
    """
    if not causality_audit["passed"]:
        found = [difference for check in causality_audit["checks"] for difference in check["differences"]]
        first = ", ".join(f"{name} {value}" for name, value in found[0].items())
        raise LookAheadError(
            f"the causality audit failed: {sum(check['num_differences'] for check in causality_audit['checks'])} "
            f"difference(s), the first in {first}. The scores of this backtest mean nothing; look at "
            "08_reporting/causality_audit.json"
        )


def _open(
    market_states: dict[str, pl.DataFrame],
    backbone: Path,
    policy: Path,
    text_baseline: Path,
    sb3_baseline: Path | None,
    data: DataConfig,
    env: EnvConfig,
    runtime: RuntimeConfig,
    seed: int,
) -> Strategies:
    facts, windows = training_facts(market_states, data, env), windows_of(market_states, data)
    actual = judged_window(market_states, data, env).env
    return open_strategies(policy, backbone, text_baseline, sb3_baseline, facts, actual, windows, runtime, seed)


def _tables(played: dict[str, Replay]) -> tuple[pl.DataFrame, pl.DataFrame]:
    return pl.concat([part.decisions for part in played.values()]), pl.concat([part.equity for part in played.values()])


def _auditable(decided_at: pl.DataFrame) -> pl.Series:
    """Decision times by which every symbol has decided at least twice, so that each has a window to trade."""
    second = decided_at.group_by("symbol").agg(pl.col("decided_at").sort().get(1))["decided_at"].max()
    return decided_at.filter(pl.col("decided_at") >= second)["decided_at"]


def _check_repeats(reference: dict[str, Replay], decisions: pl.DataFrame, equity: pl.DataFrame) -> None:
    """Refuse to audit a backtest that does not come out the same a second time.

    Raises:
        DataError: when it does not.
    """
    for name, before, after in zip(("decisions", "equity"), (decisions, equity), _tables(reference), strict=True):
        if not before.equals(after):
            raise DataError(
                f"the backtest's {name} do not repeat from prices and news as they are now in 02_intermediate; "
                "run ingest and features again (kedro run), or the whole backtest"
            )


def _flatten(results: dict[str, dict[str, dict[str, Any]]]) -> dict[str, float]:
    """`backtest/SYMBOL/STRATEGY/METRIC` of every number, and of the values and p-values of tests."""
    flat: dict[str, float] = {}
    for symbol, strategies in results.items():
        for strategy, scores in strategies.items():
            place = f"backtest/{symbol}/{strategy}"
            for metric, value in scores.items():
                if isinstance(value, dict) and "p_value" in value:
                    flat |= {f"{place}/{metric}": value["value"], f"{place}/{metric}_p_value": value["p_value"]}
                elif isinstance(value, (int, float)):
                    flat[f"{place}/{metric}"] = value
    return {name: float(value) for name, value in flat.items() if value is not None}
