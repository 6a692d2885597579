"""A backbone and a maker of actor-critics for learning tests."""

from collections.abc import Callable

import pytest
import torch

from flag_kedro.env.window import TradingWindow
from flag_kedro.policy.actor_critic import ActorCritic, build_actor_critic
from flag_kedro.policy.backbone import write_backbone
from flag_kedro.policy.config import PolicyConfig

torch.set_num_threads(1)  # tiny models lose more to waiting threads than they gain


@pytest.fixture(scope="session")
def make_model(small_window: TradingWindow, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], ActorCritic]:
    """Build equal actor-critics on one tiny backbone."""
    folder = tmp_path_factory.mktemp("backbone")
    write_backbone(PolicyConfig(), [text for texts in small_window.prefixes for text in texts], 0, folder)
    return lambda: build_actor_critic(folder, PolicyConfig(), 0, torch.device("cpu"))
