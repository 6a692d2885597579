"""The node of the publish pipeline. The hub's library is imported inside, so that listing pipelines stays quick."""

import logging
from pathlib import Path

from flag_kedro.policy.config import PublishConfig
from flag_kedro.policy.manifest import folder_hash

logger = logging.getLogger(__name__)


def publish_policy(policy: Path, publish: PublishConfig, model_card: str | None) -> None:
    """Copy the trained policy to a model hub, with its results where the last backtest was of this policy."""
    from flag_kedro.policy.hub import push_to_hub

    if model_card is None or folder_hash(policy) not in model_card:
        logger.warning("no backtest of this policy: its model card has no results (kedro run --pipelines=backtest)")
        model_card = None
    logger.info("the policy is at %s", push_to_hub(policy, publish, model_card))
