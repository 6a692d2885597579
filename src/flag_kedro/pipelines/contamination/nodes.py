"""Nodes of the contamination pipeline. torch is imported inside, so that listing pipelines stays quick."""

import logging
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.backtest.config import BacktestConfig
from flag_kedro.backtest.replay import Replay, replay
from flag_kedro.env.split import MarketSplit
from flag_kedro.errors import DataError
from flag_kedro.experiments.before_after import (
    compare_policies,
    compare_recall,
    num_sessions,
    sides_of,
    spans_to_replay,
    why_not,
)
from flag_kedro.experiments.config import ContaminationConfig
from flag_kedro.experiments.cutoffs import Cutoff, compare_windows, find_cutoff
from flag_kedro.experiments.memorisation import NO_HEAD, Answers, ask, num_texts, open_language_model, probe_recall
from flag_kedro.experiments.modalities import compare_ablations
from flag_kedro.experiments.statements import draw_statements
from flag_kedro.experiments.strategies import Strategies
from flag_kedro.features.ablation import ABLATIONS, Ablation, unnamed
from flag_kedro.features.market_state import data_hash
from flag_kedro.features.market_tables import MarketTables
from flag_kedro.names import POLICY, TINY
from flag_kedro.pipelines.progress import progress_bar
from flag_kedro.policy.origin import origin_of
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.tracking.log import log_metrics
from flag_kedro.tracking.scores import flatten_contamination

logger = logging.getLogger(__name__)


def check_policy(split: MarketSplit, policy: Path) -> dict[str, Any]:
    """What the trained policy says of itself, refused unless it was trained on what is on disk."""
    from flag_kedro.policy.bundle import check_facts, read_description

    description = read_description(policy)
    check_facts(description, split.facts)
    return description


def compare_cutoff(
    policy_description: dict[str, Any], split: MarketSplit, contamination: ContaminationConfig
) -> dict[str, Any]:
    """How much of each window the backbone may have read about."""
    name, origin = policy_description["policy"]["backbone"], origin_of(policy_description.get("backbone_origin"))
    cutoff = _cutoff(policy_description, split, contamination)
    days = pl.concat(table["session"] for table in split.states.values())
    sessions = {window: days.filter(days.is_between(*span)).to_list() for window, span in _spans(split)}
    described = {"day": None if cutoff.day is None else cutoff.day.isoformat(), "reason": cutoff.reason}
    windows = {window: asdict(row) for window, row in compare_windows(cutoff, sessions).items()}
    return {"backbone": name if origin is None else str(origin), "cutoff": described, "windows": windows}


def probe_memory(
    policy_description: dict[str, Any],
    tables: MarketTables,
    split: MarketSplit,
    backbone: Path,
    policy: Path,
    contamination: ContaminationConfig,
    runtime: RuntimeConfig,
    seed: int,
) -> tuple[dict[str, Any], list[Answers]]:
    """Ask the backbone, as a language model, for closes and directions of each window.

    Returns:
        The report, and answers to statements on either side of the cutoff.
    """
    from flag_kedro.ppo.device import prepare_torch

    folder = policy / "backbone" if policy_description["policy"]["backbone"] == TINY else backbone
    model = open_language_model(folder, prepare_torch(runtime))
    if model is None:
        return {"applicable": False, "reason": NO_HEAD, "windows": {}}, []
    num, alternatives = contamination.probe_samples, contamination.alternatives
    cutoff, spans = _cutoff(policy_description, split, contamination), dict(_spans(split))
    day = None if cutoff.unread else cutoff.day
    sides = [side for span in spans.values() for side in ([span] if day is None else sides_of(span, day))]
    statements = {
        span: draw_statements(tables.prices, tables.names, span, num, alternatives, seed)
        for span in dict.fromkeys([*spans.values(), *sides])
    }
    with progress_bar("asking for closes", sum(map(num_texts, statements.values()))) as advance:
        score = partial(model.score, on_read=advance)
        answers = {span: ask(asked, score) for span, asked in statements.items()}
    recall = {window: asdict(probe_recall(answers[span])) for window, span in spans.items()}
    return {"applicable": True, "reason": None, "windows": recall}, [answers[side] for side in sides]


def compare_sides(
    policy_description: dict[str, Any],
    split: MarketSplit,
    strategies: Strategies,
    recall_answers: list[Answers],
    contamination: ContaminationConfig,
    backtest: BacktestConfig,
    seed: int,
) -> dict[str, Any]:
    """What the backbone recalls, and what policies earn by timing, before its cutoff and after it."""
    cutoff, num_draws = _cutoff(policy_description, split, contamination), backtest.bootstrap_draws
    if cutoff.day is None or cutoff.unread:
        return {"cutoff": None, "reason": why_not(cutoff), "measures": {}}
    measures = compare_recall(recall_answers, cutoff.day, num_draws, seed) if recall_answers else {}
    spans = spans_to_replay(strategies, cutoff.day)
    num_steps = sum(num_sessions(split, span) for span in spans.values() if not isinstance(span, str))
    with progress_bar("replaying across the cutoff", num_steps) as advance:
        measures |= compare_policies(strategies, spans, cutoff.day, num_draws, seed, advance)
    compared = {name: asdict(comparison) for name, comparison in measures.items()}
    return {"cutoff": cutoff.day.isoformat(), "reason": None, "measures": compared}


def replay_ablations(
    policy_description: dict[str, Any],
    tables: MarketTables,
    split: MarketSplit,
    strategies: Strategies,
    backtest: BacktestConfig,
    seed: int,
) -> dict[str, Any]:
    """Replay the trained policy, unchanged, on states without names, news or prices."""
    policy, reference = strategies.policy(POLICY), tables.features.ablation
    replays = dict[Ablation, Replay]()
    with progress_bar("replaying without", len(ABLATIONS) * int(split.test.num_sessions.max())) as advance:
        for kind in ABLATIONS:
            states = tables.build_states(ablation=kind)
            if kind == reference and data_hash(states) != policy_description["data_hash"]:
                raise DataError(
                    "the policy's market states do not repeat from prices and news as they are now in "
                    "02_intermediate; run ingest and features again (kedro run), or the whole training"
                )
            replays[kind] = replay(kind, split.test_on(states), split.env, policy.answer, advance, policy.read_ahead)
    ablations = compare_ablations(replays, split.evaluation, reference, backtest.bootstrap_draws, seed)
    if missing := unnamed(list(split.states), tables.names):
        logger.warning("mask_names masked the tickers of %s only: no name of theirs is known", " ".join(missing))
    return {
        "reference": reference,
        "window": list(split.evaluation.dates),
        "symbols_without_names": missing,
        "ablations": {kind: asdict(comparison) for kind, comparison in ablations.items()},
    }


def report_contamination(
    knowledge: dict[str, Any],
    memorisation: dict[str, Any],
    before_after: dict[str, Any],
    modalities: dict[str, Any],
) -> dict[str, Any]:
    """All four results in one report."""
    report = {
        "knowledge": knowledge,
        "memorisation": memorisation,
        "before_after": before_after,
        "modalities": modalities,
    }
    log_metrics(flatten_contamination(report), 0, int(time.time() * 1000))
    return report


def _cutoff(policy_description: dict[str, Any], split: MarketSplit, contamination: ContaminationConfig) -> Cutoff:
    """Of the policy's backbone."""
    name, origin = policy_description["policy"]["backbone"], origin_of(policy_description.get("backbone_origin"))
    simulated = split.data.source == "simulated"
    return find_cutoff(name, contamination.model_cutoff, simulated=simulated, origin=origin)


def _spans(split: MarketSplit) -> list[tuple[str, Any]]:
    """Name, first and last session of each window there is."""
    return [(name, span) for name, span in asdict(split.windows).items() if span is not None]
