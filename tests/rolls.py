"""Walk-forwards on 63 sessions of two simulated symbols, for tests that compare one engine with another.

Also a command: `python rolls.py FOLDER RUNTIME_AS_JSON` rolls once and prints the results.
"""

import json
import sys
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.backtest.config import BacktestConfig
from flag_kedro.data.config import DataConfig, WindowsConfig
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.experiments.config import WalkForwardConfig
from flag_kedro.experiments.folds import common_sessions, roll_folds
from flag_kedro.features.market_state import build_market_states
from flag_kedro.pipelines.shared import choose_training_settings
from flag_kedro.pipelines.walk_forward.nodes import walk_forward
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.policy.manifest import write_manifest
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig

PPO = PPOConfig(
    total_timesteps=32, num_envs=1, num_steps=8, minibatch_size=None, validation_interval=1, kl_coef=0.0,
    learning_rate=5e-4, gamma=0.95, gae_lambda=0.98, update_epochs=1, clip_vloss=True, ent_coef=0.05,
    gradient_accumulation_steps=8, stagger_starts=False, reward_scale=1.0,
)  # fmt: skip
FOUR_FOLDS = WalkForwardConfig(train_sessions=20, validation_sessions=10, test_sessions=8)
LOCAL = RuntimeConfig(device="cpu", threads=1)
RAY = RuntimeConfig(device="cpu", threads=1, engine="ray")


@cache
def market() -> MarketSplit:
    """Its windows are not read by a walk-forward."""
    config = SimulatedConfig(market="easy", first_session=date(2023, 7, 3), last_session=date(2023, 9, 29))
    drawn = simulate_market(("ALDR", "BRIX"), config, seed=0)
    states: dict[str, pl.DataFrame] = build_market_states(
        drawn.prices, drawn.news, digest_sessions=1, digest_chars=600, article_chars=240
    )[0]
    (fold,) = roll_folds(common_sessions(states), train=20, validation=10, test=12, folds=1)
    windows = WindowsConfig(train=fold.train, validation=fold.validation, test=fold.test)
    return MarketSplit(states, DataConfig(windows=windows), EnvConfig())


def roll(folder: Path, runtime: RuntimeConfig, folds: WalkForwardConfig = FOUR_FOLDS, seeds: str = "1 2") -> str:
    """The file that the node of a walk-forward would save; its rows and checkpoints lie in `folder`."""
    backbone = folder / "backbone"
    backbone.mkdir(parents=True, exist_ok=True)
    write_manifest(backbone)
    settings = choose_training_settings(market(), PolicyConfig(), PPO, runtime)
    results: dict[str, Any] = walk_forward(
        market(), backbone, folder / "trunk", folder / "rows", folds, settings, BacktestConfig(bootstrap_draws=200), 0,
        seeds,
    )  # fmt: skip
    return json.dumps(results)


def rows(folder: Path) -> dict[str, bytes]:
    """Files of finished trainings below `folder`, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in (folder / "rows").glob("*/?-?.json")}


if __name__ == "__main__":
    print(roll(Path(sys.argv[1]), RuntimeConfig(**json.loads(sys.argv[2]))))  # noqa: T201
