"""The node of the decide pipeline. torch is imported inside, so that listing pipelines stays quick."""

import logging
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.data.windows import Windows
from flag_kedro.env.split import MarketSplit
from flag_kedro.features.history import check_history
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.serving.config import DecideConfig
from flag_kedro.serving.ledger import append, as_lines, read

logger = logging.getLogger(__name__)


def take_decisions(
    prices: pl.DataFrame,
    split: MarketSplit,
    backbone: Path,
    policy: Path,
    ledger: Path,
    decide: DecideConfig,
    runtime: RuntimeConfig,
) -> dict[str, Any]:
    """Ask the trained policy what to do.

    Newer sessions than it was trained with may be there; what it was told before must still be the same.
    """
    from flag_kedro.policy.bundle import check_facts, load_policy, read_description
    from flag_kedro.ppo.device import prepare_torch
    from flag_kedro.serving.decide import decide as take

    description = read_description(policy)
    windows = Windows.from_text(description["windows"])
    trained = replace(split, given=windows)
    check_facts(description, {"symbols": list(split.states), "env": split.env.facts()})
    check_history(description["history"], split.states, windows)
    model = load_policy(policy, backbone, prepare_torch(runtime))
    now = datetime.now(UTC)
    own_hash = folder_hash(policy)
    lines = [line for line in read(ledger) if line["policy"] == own_hash]
    decided = take(model, trained, prices, decide, now, lines)
    for symbol, reason in decided.left_out.items():
        logger.warning("no decision on %s: %s", symbol, reason)
    return {
        "asked_at": now.isoformat(),
        "market": split.market,
        "policy": own_hash,
        "backbone": description["backbone_hash"],
        "data": split.data_hash,
        "decisions": [decision.as_json() for decision in decided.decisions],
        "left_out": decided.left_out,
    }


def keep_decisions(decision: dict[str, Any], ledger: Path) -> None:
    """Append to the ledger what the market cannot have answered yet; a decision that is there already stays once."""
    lines, num = as_lines(decision), len(decision["decisions"])
    kept = append(ledger, lines)
    if kept.num_new:
        logger.info("%d new decisions in %s, whose last hash is %s", kept.num_new, ledger.name, kept.last_hash)
    if kept.num_late:
        logger.info("%d of %d decisions are not kept in the ledger: the market has answered them", kept.num_late, num)
    if len(lines) < num:
        logger.info(
            "%d of %d decisions are not kept in the ledger: they fill at the close that they are taken at, so nobody "
            "can tell what was known; set env.fill to next_close for such symbols", num - len(lines), num,
        )  # fmt: skip
