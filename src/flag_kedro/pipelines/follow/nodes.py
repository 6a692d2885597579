"""The node of the follow pipeline."""

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.backtest.config import BacktestConfig
from flag_kedro.data.windows import Windows
from flag_kedro.env.split import MarketSplit
from flag_kedro.errors import DataError
from flag_kedro.names import ALL_SYMBOLS
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.serving.follow import follow
from flag_kedro.serving.ledger import read
from flag_kedro.tracking.log import log_metrics
from flag_kedro.tracking.scores import flatten_scores


def follow_decisions(
    ledger: Path,
    split: MarketSplit,
    equity: pl.DataFrame,
    report_facts: dict[str, Any],
    policy: Path,
    backtest: BacktestConfig,
    seed: int,
) -> dict[str, Any]:
    """Score what has happened since the decisions in the ledger, and compare it with what the backtest promised.

    Raises:
        DataError: when the backtest is of another policy, and see `follow`.
    """
    from flag_kedro.policy.bundle import check_facts, read_description

    description = read_description(policy)
    check_facts(description, {"symbols": list(split.states), "env": split.env.facts()})
    trained = replace(split, given=Windows.from_text(description["windows"]))
    if report_facts["hashes"]["policy"] != folder_hash(policy):
        raise DataError(
            "the backtest in 07_model_output is of another policy than the one in 06_models/policy, so it promises "
            "nothing of that; run kedro run --pipelines=backtest first"
        )
    found = follow(list(read(ledger)), trained, equity, folder_hash(policy), backtest.bootstrap_draws, seed)
    scores = flatten_scores({ALL_SYMBOLS: found.scores}, "follow")
    log_metrics(scores, 0, int(time.time() * 1000))
    return {"market": split.market} | asdict(found)
