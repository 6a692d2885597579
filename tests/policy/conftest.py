"""A tiny backbone and an actor-critic on it."""

from pathlib import Path

import pytest
import torch

from flag_kedro.env.window import TradingWindow
from flag_kedro.policy.actor_critic import ActorCritic, build_actor_critic
from flag_kedro.policy.backbone import write_backbone
from flag_kedro.policy.config import PolicyConfig

torch.set_num_threads(1)  # tiny models lose more to waiting threads than they gain


@pytest.fixture(scope="session")
def tiny_backbone(small_window: TradingWindow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny backbone, its tokenizer learned from the small window."""
    folder = tmp_path_factory.mktemp("backbone")
    write_backbone(PolicyConfig(), [text for texts in small_window.prefixes for text in texts], 0, folder)
    return folder


@pytest.fixture
def actor_critic(tiny_backbone: Path) -> ActorCritic:
    """A fresh actor-critic, one of two layers frozen, whose heads are large enough to show differences."""
    model = build_actor_critic(tiny_backbone, PolicyConfig(frozen_layers=1), 0, torch.device("cpu"))
    with torch.no_grad():
        for head in model.heads.values():
            head.weight.mul_(100.0)
    return model
