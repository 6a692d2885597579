"""Nodes of the audit pipeline. torch is imported inside, so that listing pipelines stays quick."""

import logging
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flag_kedro.backtest.audit_results import refuse_differences
from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.files import FilesConfig
from flag_kedro.data.market import MarketConfig
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.data.yahoo import YahooConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.experiments.config import AuditConfig
from flag_kedro.experiments.yardstick import name_market
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.names import SIMULATED
from flag_kedro.pipelines.progress import bar
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.tracking.interrupts import stop_if_asked
from flag_kedro.tracking.log import set_tags

logger = logging.getLogger(__name__)


def gather_market_config(
    data: DataConfig, news: NewsConfig, simulated: SimulatedConfig, files: FilesConfig, yahoo: YahooConfig
) -> MarketConfig:
    """Put together the parameters of the source."""
    return MarketConfig(data, news, simulated, files, yahoo)


def audit_source(
    market: MarketConfig,
    yahoo_store: Path,
    features: FeaturesConfig,
    env: EnvConfig,
    policy: PolicyConfig,
    ppo: PPOConfig,
    runtime: RuntimeConfig,
    audit: AuditConfig,
    seed: int,
) -> dict[str, Any]:
    """Do everything from the source on anew, without what became known after some times, and compare."""
    from flag_kedro.experiments.full_audit import Job, audit_from_source
    from flag_kedro.policy.bundle import portable_name

    job = Job(market, yahoo_store, features, env, policy, ppo, runtime, seed).shortened(audit.total_timesteps)
    with bar("full audit") as progress:
        task = progress.add_task("full audit", total=1 + audit.times)

        def on_stage(stage: str) -> None:
            progress.advance(task)
            logger.info("%s", stage)
            stop_if_asked()

        found = audit_from_source(job, audit.times, datetime.now(UTC), on_stage, stop_if_asked)
    set_tags({"full_audit": "passed" if found.passed else "failed"})
    market_name = (
        f"{SIMULATED}, preset {name_market(market.simulated)}"
        if market.data.source == "simulated"
        else market.data.source
    )
    return {"market": market_name, "backbone": portable_name(policy), **asdict(found)}


def refuse_leaks_from_source(full_audit: dict[str, Any]) -> None:
    """Fail the run whose results depend on the future, once they are saved.

    Raises:
        LookAheadError: when the audit found a difference.
    """
    refuse_differences("full audit", full_audit["checks"], "08_reporting/full_audit.json")
