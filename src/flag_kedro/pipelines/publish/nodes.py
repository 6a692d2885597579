"""The node of the publish pipeline. The hub's library is imported inside, so that listing pipelines stays quick."""

import logging
from pathlib import Path

from flag_kedro.policy.config import PublishConfig

logger = logging.getLogger(__name__)


def publish_policy(policy: Path, publish: PublishConfig) -> None:
    """Copy the trained policy to a model hub."""
    from flag_kedro.policy.hub import push_to_hub

    logger.info("the policy is at %s", push_to_hub(policy, publish))
