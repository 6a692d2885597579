"""Several trainings on Ray give the files of trainings one after another, whatever happens to their workers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flag_kedro.backtest.config import BacktestConfig
from flag_kedro.data.config import DataConfig, WindowsConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.experiments.config import WalkForwardConfig
from flag_kedro.experiments.folds import common_sessions, roll_folds
from flag_kedro.pipelines.shared import choose_training_settings
from flag_kedro.pipelines.walk_forward.nodes import walk_forward
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.manifest import write_manifest
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig

pytest.importorskip("ray", reason="needs flag_kedro[ray]")

PPO = PPOConfig(
    total_timesteps=32, num_envs=1, num_steps=8, minibatch_size=None, validation_interval=1, kl_coef=0.0,
    learning_rate=5e-4, gamma=0.95, gae_lambda=0.98, update_epochs=1, clip_vloss=True, ent_coef=0.05,
    gradient_accumulation_steps=8, stagger_starts=False, reward_scale=1.0,
)  # fmt: skip
LOCAL = RuntimeConfig(device="cpu", threads=1)
RAY = RuntimeConfig(device="cpu", threads=1, engine="ray")
Roll = Callable[..., str]


@pytest.fixture(scope="module")
def roll(small_states: dict[str, pl.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Roll:
    """A walk-forward over two folds of 63 sessions, as the file that its node would save."""
    backbone = tmp_path_factory.mktemp("backbone")
    write_manifest(backbone)
    (fold,) = roll_folds(common_sessions(small_states), train=20, validation=10, test=12, folds=1)
    data = DataConfig(windows=WindowsConfig(train=fold.train, validation=fold.validation, test=fold.test))
    split = MarketSplit(small_states, data, EnvConfig())

    def run(folder: Path, runtime: RuntimeConfig, seeds: str = "1 2", ppo: PPOConfig = PPO, **folds: Any) -> str:
        config = WalkForwardConfig(**{"train_sessions": 20, "validation_sessions": 10, "test_sessions": 12, **folds})
        results = walk_forward(
            split, backbone, folder / "trunk", folder / "rows", config,
            choose_training_settings(split, PolicyConfig(), ppo, runtime), BacktestConfig(bootstrap_draws=200), 0,
            seeds,
        )  # fmt: skip
        return json.dumps(results)

    return run


def rows(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.json")}


def test_a_walk_forward_on_ray_writes_the_files_of_one_training_after_another(roll: Roll, tmp_path: Path):
    local, ray = tmp_path / "local", tmp_path / "ray"
    assert roll(ray, RAY) == roll(local, LOCAL)
    assert rows(ray) == rows(local)
    assert len(rows(ray)) == 4
