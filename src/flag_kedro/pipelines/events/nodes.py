"""Nodes of the events pipeline."""

import json
import time
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.backtest.config import BacktestConfig
from flag_kedro.backtest.event_study_plot import plot_event_study
from flag_kedro.backtest.trials import score_trial
from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.experiments.event_trading import (
    MODES,
    ON_EVENTS,
    BothWays,
    compare_modes,
    on_sessions,
    replay_both_ways,
)
from flag_kedro.experiments.strategies import Strategies
from flag_kedro.experiments.yardstick import ask_about, measure_yardstick
from flag_kedro.names import POLICY
from flag_kedro.pipelines.progress import progress_bar
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.tracking.inputs import log_windows
from flag_kedro.tracking.log import log_metrics, set_tags, tag_training_run
from flag_kedro.tracking.scores import flatten_event_study
from flag_kedro.tracking.trials import record_trial


def replay_on_events(
    prices: pl.DataFrame,
    split: MarketSplit,
    strategies: Strategies,
    policy: Path,
    data: DataConfig,
    news: NewsConfig,
    simulated: SimulatedConfig,
) -> BothWays:
    """Replay the policy, the baselines and the optimal policy at every session and on events."""
    set_tags({"data_hash": split.data_hash})
    tag_training_run(folder_hash(policy))
    log_windows(split, "test")
    oracle = ask_about(split, data, news, simulated)
    num = len(MODES) * (len(strategies) + (oracle is not None)) * int(split.test.num_sessions.max())
    with progress_bar("replaying", num) as advance:
        both = replay_both_ways(strategies, prices, oracle, advance)
    _record(both, split, policy)
    return both


def _record(both: BothWays, split: MarketSplit, policy: Path) -> None:
    """Count the policy as a trial of the test window in each mode: whoever has looked has tried."""
    description = json.loads((policy / "policy.json").read_text())
    for mode in MODES:
        own = on_sessions(split, mode)
        name = POLICY if mode == "every_session" else POLICY + ON_EVENTS
        paths = both.equity.filter(pl.col("strategy") == name).partition_by("symbol", as_dict=True)
        log_returns = {str(symbol): path["log_return"].drop_nulls().to_numpy() for (symbol,), path in paths.items()}
        traded = description | {"env": own.env.facts()}
        trial = score_trial(traded, folder_hash(policy), log_returns, own.evaluation, split.states)
        record_trial(trial, " ".join(own.evaluation.dates))


def study_events(
    both: BothWays,
    split: MarketSplit,
    policy: Path,
    data: DataConfig,
    news: NewsConfig,
    simulated: SimulatedConfig,
    backtest: BacktestConfig,
    seed: int,
) -> dict[str, Any]:
    """Compare both modes, and study prices around decisions and events."""
    yardstick = measure_yardstick(both.equity, split, data, news, simulated)
    results = compare_modes(both, split, yardstick, backtest.bootstrap_draws, seed)
    log_metrics(flatten_event_study(results), 0, int(time.time() * 1000))
    trained = json.loads((policy / "policy.json").read_text())["env"].get("decide_on", "every_session")
    return {"trained_on": trained, **results}


def draw_event_study(event_study: dict[str, Any]) -> str:
    """Cumulative abnormal returns around decisions and events, as a page that needs no network."""
    page: str = plot_event_study(event_study).to_html(include_plotlyjs=True)
    return page
