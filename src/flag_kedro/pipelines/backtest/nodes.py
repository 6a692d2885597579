"""Nodes of the backtest pipeline. torch is imported inside, so that listing pipelines stays quick."""

import time
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import polars as pl

from flag_kedro.backtest.baselines import buy_and_hold, flat, sticky_random
from flag_kedro.backtest.config import BacktestConfig
from flag_kedro.backtest.plots import plot_equity
from flag_kedro.backtest.replay import replay
from flag_kedro.backtest.scores import describe_convention, score_strategies
from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.market import symbol_calendar
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import cut_window, effective_fill
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.pipelines.facts import MarketFacts, check_market, market_facts, training_facts, windows_of
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.tracking.log import log_metrics, set_tags, tag_training_run


def replay_strategies(
    market_states: dict[str, pl.DataFrame],
    found_facts: MarketFacts,
    backbone: Path,
    policy: Path,
    data: DataConfig,
    news: NewsConfig,
    simulated: SimulatedConfig,
    features: FeaturesConfig,
    env: EnvConfig,
    runtime: RuntimeConfig,
    seed: int,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Replay the policy and the baselines over the test window."""
    from flag_kedro.policy.bundle import check_facts, load_policy, read_description
    from flag_kedro.policy.manifest import folder_hash
    from flag_kedro.ppo.launch import prepare_torch

    check_market(found_facts, market_facts(data, news, simulated, features))
    facts = training_facts(market_states, data, env)
    check_facts(read_description(policy), facts)
    set_tags({"data_hash": facts["data_hash"]})
    tag_training_run(folder_hash(policy))
    model = load_policy(policy, backbone, prepare_torch(runtime))
    window = cut_window(
        market_states, windows_of(market_states, data).test, facts["env"]["fill"], positions=env.positions
    )
    rules = {
        "flag_trader": model.decide,
        "buy_and_hold": buy_and_hold,
        "flat": flat,
        "random": sticky_random(seed, window.symbols),
    }
    played = [replay(name, window, env, rule) for name, rule in rules.items()]
    return pl.concat([part.decisions for part in played]), pl.concat([part.equity for part in played])


def score_backtest(
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    market_states: dict[str, pl.DataFrame],
    data: DataConfig,
    env: EnvConfig,
    backtest: BacktestConfig,
) -> dict[str, Any]:
    """Score all strategies in both conventions; `results` holds the one asked for."""
    windows = windows_of(market_states, data)
    window = cut_window(market_states, windows.test, effective_fill(env.fill, market_states), positions=env.positions)
    marks = {s: window.mark_prices[i, : window.num_sessions[i]] for i, s in enumerate(window.symbols)}
    calendars = {symbol: symbol_calendar(symbol, data) for symbol in window.symbols}
    first, last = windows.test[0].isoformat(), windows.test[1].isoformat()
    scored = {
        name: {
            "convention": describe_convention(
                name, (first, last), window.fill, env.cost_bps, env.slippage_bps, calendars
            ),
            "results": score_strategies(decisions, equity, marks, calendars, name),
        }
        for name in ("account", "investorbench")
    }
    other = "investorbench" if backtest.convention == "account" else "account"
    flattened = {
        f"backtest/{symbol}/{strategy}/{metric}": float(value)
        for symbol, strategies in scored[backtest.convention]["results"].items()
        for strategy, scores in strategies.items()
        for metric, value in scores.items()
        if value is not None
    }
    log_metrics(flattened, 0, int(time.time() * 1000))
    return {**scored[backtest.convention], "other_convention": scored[other]}


def draw_equity(equity: pl.DataFrame, backtest_metrics: dict[str, Any]) -> tuple[go.Figure, go.Figure]:
    """Plot equity for the catalog and as a page."""
    shown = (
        backtest_metrics
        if backtest_metrics["convention"]["name"] == "account"
        else backtest_metrics["other_convention"]
    )
    figure = plot_equity(equity, shown["convention"])
    return figure, figure
