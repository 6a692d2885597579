"""Node of the sb3_baseline pipeline. torch is imported inside, so that listing pipelines stays quick."""

import logging

import polars as pl

from flag_kedro.datasets.folders import WritesFolder
from flag_kedro.env.split import MarketSplit
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.tracking.log import set_tags

logger = logging.getLogger(__name__)


def train_sb3_baseline(prices: pl.DataFrame, split: MarketSplit, runtime: RuntimeConfig, seed: int) -> WritesFolder:
    """Train Stable-Baselines3's PPO on numeric indicators of the training window."""
    from flag_kedro.experiments.sb3_agent import TIMESTEPS, train_sb3
    from flag_kedro.ppo.device import prepare_torch

    set_tags({"data_hash": split.data_hash})
    prepare_torch(runtime)
    span = split.windows.train
    windows = [split.with_states({symbol: split.states[symbol]}).cut(span) for symbol in split.train.symbols]
    logger.info("training Stable-Baselines3's PPO for %d account-decisions", TIMESTEPS)
    return train_sb3(prices, windows, split.env, seed, facts=split.facts | {"seed": seed})
