"""Nodes of the evaluate pipeline. torch and scikit-learn are imported inside, so that listing pipelines stays quick."""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
import polars as pl

from flag_kedro.data.config import NewsConfig
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.env.account import Floats
from flag_kedro.env.split import MarketSplit
from flag_kedro.names import POLICY, TINY
from flag_kedro.pipelines.progress import progress_bar
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.tracking.log import log_metrics
from flag_kedro.tracking.scores import flatten_tasks

if TYPE_CHECKING:
    from flag_kedro.evaluation.tasks import TaskResult

logger = logging.getLogger(__name__)
LABEL_ODDS, LOG_VARIANCES = "label_odds", "log_variances"


def gather_task_samples(
    split: MarketSplit, news: NewsConfig, simulated: SimulatedConfig
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What can be asked of each symbol and session, and of each headline that its source has tagged."""
    from flag_kedro.evaluation.samples import gather_samples, gather_tagged_headlines

    return gather_samples(split, news, simulated), gather_tagged_headlines(split)


def read_task_vectors(
    samples: pl.DataFrame,
    headlines: pl.DataFrame,
    split: MarketSplit,
    backbone: Path,
    policy: Path,
    runtime: RuntimeConfig,
    seed: int,
) -> dict[str, Floats]:
    """Vectors of all prompts, those of headlines last, by each reader, and what is said of them.

    That is label odds where the backbone has a head, and what a policy's volatility head forecasts.
    """
    from flag_kedro.evaluation.readers import Readers, read_label_odds, read_log_variances, read_vectors
    from flag_kedro.policy.bundle import check_facts, read_description
    from flag_kedro.ppo.device import prepare_torch

    description = read_description(policy)
    check_facts(description, split.facts)
    device, prefixes = prepare_torch(runtime), [*samples["prefix"], *headlines["prefix"]]
    readers = Readers(policy, backbone, description, split, device, seed)
    openers, found = readers.openers(), dict[str, Floats]()
    with progress_bar("reading prompts", len(openers) * len(prefixes)) as advance:
        for name, opener in openers.items():
            model = opener()
            found[name] = read_vectors(model, prefixes, split, advance)
            if name == POLICY and (forecasts := read_log_variances(model, prefixes, split)) is not None:
                found[LOG_VARIANCES] = forecasts
    odds = None
    if readers.config.backbone != TINY:
        odds = read_label_odds(readers.folder, readers.config, device, prefixes, split)
    if odds is None:
        logger.info("the backbone has no language-model head: nobody is asked for words")
        return found
    return found | {LABEL_ODDS: odds}


def evaluate_all_tasks(
    samples: pl.DataFrame, headlines: pl.DataFrame, vectors: Mapping[str, Floats], split: MarketSplit
) -> dict[str, Any]:
    """Probe the vectors for each task; of those that the samples do not allow, why not."""
    from flag_kedro.evaluation.tasks import Inputs, evaluate_tasks

    def read(table: pl.DataFrame, rows: slice) -> Inputs:
        matrices = {name: np.asarray(matrix[rows]) for name, matrix in vectors.items()}
        odds, log_variances = matrices.pop(LABEL_ODDS, None), matrices.pop(LOG_VARIANCES, None)
        return Inputs(table, matrices, odds, log_variances)

    found = evaluate_tasks(
        read(samples, slice(0, samples.height)),
        read(headlines, slice(samples.height, samples.height + headlines.height)),
    )
    tasks = {name: _as_json(result) for name, result in found.items() if not isinstance(result, str)}
    left_out = {name: result for name, result in found.items() if isinstance(result, str)}
    log_metrics(flatten_tasks(tasks), 0, int(time.time() * 1000))
    windows = {name: span for name, span in split.windows.as_text().items() if span is not None}
    return {"market": split.market, "windows": windows, "tasks": tasks, "left_out": left_out}


def _as_json(result: "TaskResult") -> dict[str, Any]:
    """A task's result without what it does not have."""
    return {name: value for name, value in asdict(result).items() if value is not None}


def plot_tasks(task_evaluation: dict[str, Any]) -> go.Figure:
    """Skill of every reader on every task."""
    from flag_kedro.evaluation.plot import plot_skill

    return plot_skill(task_evaluation["tasks"], task_evaluation["market"])
