"""The backbone that all trainings of an experiment start from."""

from dataclasses import dataclass
from pathlib import Path

from flag_kedro.datasets.folders import WritesFolder
from flag_kedro.policy.config import TINY, PolicyConfig


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
