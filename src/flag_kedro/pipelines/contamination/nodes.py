"""Nodes of the contamination pipeline. torch is imported inside, so that listing pipelines stays quick."""

import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.backtest.config import BacktestConfig
from flag_kedro.backtest.replay import Replay, replay
from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.errors import DataError
from flag_kedro.experiments.config import ContaminationConfig
from flag_kedro.experiments.cutoffs import compare_windows, find_cutoff
from flag_kedro.experiments.memorisation import NO_HEAD, num_texts, open_language_model, probe_recall
from flag_kedro.experiments.modalities import compare_ablations
from flag_kedro.experiments.statements import draw_statements
from flag_kedro.features.ablation import ABLATIONS, Ablation, unnamed
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_state import build_market_states, data_hash
from flag_kedro.pipelines.backtest.judged import evaluation_window
from flag_kedro.pipelines.backtest.nodes import open_for
from flag_kedro.pipelines.facts import MarketFacts, check_market, market_facts, training_facts, windows_of
from flag_kedro.pipelines.progress import progress_bar
from flag_kedro.policy.config import TINY
from flag_kedro.ppo.runtime import RuntimeConfig

logger = logging.getLogger(__name__)


def check_policy(
    market_states: dict[str, pl.DataFrame],
    found_facts: MarketFacts,
    policy: Path,
    data: DataConfig,
    news: NewsConfig,
    simulated: SimulatedConfig,
    features: FeaturesConfig,
    env: EnvConfig,
) -> dict[str, Any]:
    """What the trained policy says of itself, refused unless it was trained on what is on disk."""
    from flag_kedro.policy.bundle import check_facts, read_description

    check_market(found_facts, market_facts(data, news, simulated, features))
    description = read_description(policy)
    check_facts(description, training_facts(market_states, data, env))
    return description


def compare_cutoff(
    policy_description: dict[str, Any],
    market_states: dict[str, pl.DataFrame],
    data: DataConfig,
    contamination: ContaminationConfig,
) -> dict[str, Any]:
    """How much of each window the backbone may have read about."""
    name = policy_description["policy"]["backbone"]
    cutoff = find_cutoff(name, contamination.model_cutoff, simulated=data.source == "simulated")
    days = pl.concat(table["session"] for table in market_states.values())
    sessions = {window: days.filter(days.is_between(*span)).to_list() for window, span in _spans(market_states, data)}
    told = {"day": None if cutoff.day is None else cutoff.day.isoformat(), "reason": cutoff.reason}
    return {"backbone": name, "cutoff": told, "windows": compare_windows(cutoff, sessions)}


def probe_memory(
    policy_description: dict[str, Any],
    prices: pl.DataFrame,
    company_names: dict[str, list[str]],
    market_states: dict[str, pl.DataFrame],
    backbone: Path,
    policy: Path,
    data: DataConfig,
    contamination: ContaminationConfig,
    runtime: RuntimeConfig,
    seed: int,
) -> dict[str, Any]:
    """Ask the backbone, as a language model, for closes and directions of each window."""
    from flag_kedro.ppo.device import prepare_torch

    folder = policy / "backbone" if policy_description["policy"]["backbone"] == TINY else backbone
    model = open_language_model(folder, prepare_torch(runtime))
    if model is None:
        return {"applicable": False, "reason": NO_HEAD, "windows": {}}
    num, alternatives = contamination.probe_samples, contamination.alternatives
    asked = {
        window: draw_statements(prices, company_names, span, num, alternatives, seed)
        for window, span in _spans(market_states, data)
    }
    with progress_bar("asking for closes", sum(map(num_texts, asked.values()))) as advance:
        score = partial(model.score, on_read=advance)
        found = {window: probe_recall(statements, score) for window, statements in asked.items()}
    return {"applicable": True, "reason": None, "windows": found}


def replay_ablations(
    policy_description: dict[str, Any],
    prices: pl.DataFrame,
    news_table: pl.DataFrame,
    company_names: dict[str, list[str]],
    universe: pl.DataFrame,
    market_states: dict[str, pl.DataFrame],
    backbone: Path,
    policy: Path,
    text_baseline: Path,
    sb3_baseline: Path | None,
    trunk_cache: Path,
    data: DataConfig,
    features: FeaturesConfig,
    env: EnvConfig,
    backtest: BacktestConfig,
    runtime: RuntimeConfig,
    seed: int,
) -> dict[str, Any]:
    """Replay the trained policy, unchanged, on states without names, news or prices."""
    opened = open_for(
        market_states, backbone, policy, text_baseline, sb3_baseline, trunk_cache, data, env, runtime, seed
    )
    decide = opened.readers["flag_trader"].answer
    judged, replays = evaluation_window(market_states, data, env), dict[Ablation, Replay]()
    with progress_bar("replaying without", len(ABLATIONS) * int(judged.window.num_sessions.max())) as advance:
        for kind in ABLATIONS:
            options = asdict(features) | {"ablation": kind}
            states, _ = build_market_states(prices, news_table, names=company_names, universe=universe, **options)
            if kind == features.ablation and data_hash(states) != policy_description["data_hash"]:
                raise DataError(
                    "the policy's market states do not repeat from prices and news as they are now in "
                    "02_intermediate; run ingest and features again (kedro run), or the whole training"
                )
            window = evaluation_window(states, data, env).window
            replays[kind] = replay(kind, window, judged.env, decide, advance)
    found = compare_ablations(replays, judged, features.ablation, backtest.bootstrap_draws, seed)
    if missing := unnamed(list(market_states), company_names):
        logger.warning("mask_names masked the tickers of %s only: no name of theirs is known", " ".join(missing))
    told = {"reference": features.ablation, "window": list(judged.dates), "symbols_without_names": missing}
    return told | {"ablations": found}


def report_contamination(
    knowledge: dict[str, Any], memorisation: dict[str, Any], modalities: dict[str, Any]
) -> dict[str, Any]:
    """All three findings in one report."""
    return {"knowledge": knowledge, "memorisation": memorisation, "modalities": modalities}


def _spans(market_states: dict[str, pl.DataFrame], data: DataConfig) -> list[tuple[str, Any]]:
    """Name, first and last session of each window there is."""
    windows = asdict(windows_of(market_states, data))
    return [(name, span) for name, span in windows.items() if span is not None]
