"""The backbone that all trainings of an experiment start from."""

from dataclasses import dataclass
from pathlib import Path

from kedro.pipeline import Node

from flag_kedro.datasets.folders import WritesFolder
from flag_kedro.policy.config import TINY, PolicyConfig

GROUPS_OF_TRAININGS = ("data", "news", "simulated", "features", "env", "policy", "ppo", "runtime")
"""Parameters that every experiment of several trainings reads, in this order."""


@dataclass(frozen=True)
class SharedBackbone:
    """A backbone still to be fetched; nothing for `tiny`, which each training builds from its own prompts."""

    config: PolicyConfig

    def write(self, folder: Path) -> None:
        """Fetch it into `folder`."""
        from flag_kedro.policy.backbone import write_backbone

        if self.config.backbone != TINY:
            write_backbone(self.config, [], 0, folder)


def prepare_shared_backbone(policy: PolicyConfig) -> WritesFolder:
    """Fetch the backbone that folds and seeds share."""
    return SharedBackbone(policy)


def shared_backbone_node() -> Node:
    """The node that fetches it."""
    return Node(
        prepare_shared_backbone, inputs="params:policy", outputs="shared_backbone", name="prepare_shared_backbone"
    )
