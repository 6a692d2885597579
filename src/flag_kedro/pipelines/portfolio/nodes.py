"""Nodes of the portfolio pipeline. torch is imported inside, so that listing pipelines stays quick."""

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import polars as pl

from flag_kedro.backtest.audit_results import refuse_differences
from flag_kedro.backtest.config import BacktestConfig
from flag_kedro.backtest.corruptions import CORRUPTIONS
from flag_kedro.backtest.portfolio_plot import plot_portfolio
from flag_kedro.backtest.portfolio_replay import OpenPortfolio
from flag_kedro.backtest.trials import score_trial
from flag_kedro.data.config import NewsConfig
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.datasets.folders import WritesFolder
from flag_kedro.env.config import PortfolioConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.experiments.scoring import RunSettings
from flag_kedro.features.market_tables import MarketTables
from flag_kedro.names import POLICY
from flag_kedro.pipelines.progress import log_update, progress_bar
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.ppo.history import without_wall_times
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.tracking.inputs import log_windows
from flag_kedro.tracking.log import log_metrics, run_id, set_tags
from flag_kedro.tracking.scores import flatten_portfolio
from flag_kedro.tracking.trials import record_trial

NUM_RULES = 6


def train_portfolio(
    split: MarketSplit,
    backbone: Path,
    checkpoints: Path,
    settings: RunSettings,
    portfolio: PortfolioConfig,
    seed: int,
) -> tuple[WritesFolder, list[dict[str, float]]]:
    """Train one account over all symbols, or go on where the same training was stopped.

    Returns:
        The bundle, and one row of metrics per update.
    """
    from flag_kedro.experiments.portfolios import check_portfolio
    from flag_kedro.experiments.training import run_training, training_spec
    from flag_kedro.policy.bundle import TrainedPolicy
    from flag_kedro.ppo.checkpoint_key import open_checkpoints

    check_portfolio(split, settings.env, settings.ppo)
    if settings.policy.trunk_cache == "disk":  # rows on disk are of the single account's texts
        settings = replace(settings, policy=replace(settings.policy, trunk_cache="ram"))
    log_windows(split, "train", "validation")
    facts = split.facts | {"seed": seed, "portfolio": asdict(portfolio)}
    set_tags({"data_hash": split.data_hash})
    policy, ppo, runtime = settings.policy, settings.ppo, settings.runtime
    saved = open_checkpoints(checkpoints, facts, backbone, policy, ppo, runtime, run_id())
    num_updates = ppo.num_updates(1)
    try:
        spec = replace(training_spec(split, backbone, None, settings, seed), portfolio=portfolio)
        with progress_bar("training a portfolio", num_updates) as advance:

            def on_update(row: Mapping[str, float]) -> None:
                log_update(row)
                advance()

            model, history = run_training(spec, checkpoints=saved, on_update=on_update)
    finally:
        saved.close()
        if saved.resumed_from is not None:
            set_tags({"resumed_from": saved.resumed_from})
    rows = [without_wall_times(row) for row in history]
    told = facts | {"ppo": ppo.learning(), "market": split.market}
    return TrainedPolicy(model, backbone, told), rows


def open_portfolio(
    split: MarketSplit, backbone: Path, portfolio_policy: Path, portfolio: PortfolioConfig, runtime: RuntimeConfig
) -> OpenPortfolio:
    """The trained portfolio as a rule.

    Raises:
        DataError: where it was trained on other data or with other settings.
    """
    from flag_kedro.policy.allocation import likeliest_weights
    from flag_kedro.policy.bundle import check_facts, load_policy, read_description
    from flag_kedro.ppo.device import prepare_torch

    description = read_description(portfolio_policy)
    facts = split.facts | {"portfolio": asdict(portfolio)}
    check_facts(description, facts, location="06_models/portfolio_policy", train="portfolio")
    model = load_policy(portfolio_policy, backbone, prepare_torch(runtime))
    weigh = likeliest_weights(model, len(split.test.symbols), split.env.positions, portfolio)
    return OpenPortfolio(weigh, model.read_ahead, description, folder_hash(portfolio_policy), portfolio)


def replay_trained_portfolio(split: MarketSplit, opened: OpenPortfolio) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Replay the portfolio and the rules over the test window: weights and equity."""
    from flag_kedro.experiments.portfolios import replay_portfolios

    log_windows(split, "test")
    with progress_bar("replaying", (1 + NUM_RULES) * int(split.test.num_sessions[0])) as advance:
        replays = replay_portfolios(split, opened.config, opened.weigh, opened.read_ahead, advance)
    own = replays[POLICY].equity["log_return"].drop_nulls().to_numpy()
    earned = dict.fromkeys(split.test.symbols, own)  # one account: whoever looks has tried it on every symbol
    trial = score_trial(opened.description, opened.policy_hash, earned, split.evaluation, split.states)
    record_trial(trial, " ".join(split.evaluation.dates))
    weights, equity = (pl.concat(getattr(each, name) for each in replays.values()) for name in ("weights", "equity"))
    return weights, equity


def audit_portfolio(
    weights: pl.DataFrame,
    tables: MarketTables,
    split: MarketSplit,
    opened: OpenPortfolio,
    backtest: BacktestConfig,
    seed: int,
) -> dict[str, Any]:
    """Repeat the portfolios on tables whose future is changed, and compare all that was decided before."""
    from flag_kedro.experiments.portfolio_audit import audit_portfolios

    with progress_bar("causality audit", backtest.audit_times * len(CORRUPTIONS)) as advance:
        return audit_portfolios(weights, tables, split, opened, backtest.audit_times, seed, advance)


def score_portfolio(
    weights: pl.DataFrame,
    equity: pl.DataFrame,
    split: MarketSplit,
    backtest: BacktestConfig,
    portfolio: PortfolioConfig,
    news: NewsConfig,
    simulated: SimulatedConfig,
    seed: int,
) -> dict[str, Any]:
    """Score the portfolio and the rules, and compare them; on a simulated market with the oracle too."""
    from flag_kedro.experiments.portfolio_oracle import measure_portfolio
    from flag_kedro.experiments.portfolios import score_portfolios

    results = score_portfolios(weights, equity, split, backtest.bootstrap_draws, seed)
    results |= {"yardstick": measure_portfolio(equity, split, portfolio, news, simulated)}
    log_metrics(flatten_portfolio(results), 0, int(time.time() * 1000))
    return results


def draw_portfolio(weights: pl.DataFrame, equity: pl.DataFrame, portfolio_results: dict[str, Any]) -> go.Figure:
    """Equity of all, and the policy's weights through time."""
    return plot_portfolio(weights, equity, portfolio_results["market"])


def refuse_portfolio_leaks(portfolio_audit: dict[str, Any], portfolio_results: dict[str, Any]) -> None:
    """Fail the run whose weights depend on the future, once its results are written.

    Raises:
        LookAheadError: when the audit found a difference.
    """
    checks = [*portfolio_audit["checks"], portfolio_audit["levels"]]
    refuse_differences("causality audit", checks, "08_reporting/portfolio_audit.json")
