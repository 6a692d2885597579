"""Node of the sb3_baseline pipeline. torch is imported inside, so that listing pipelines stays quick."""

import logging
from functools import partial

import polars as pl

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.datasets.folders import WritesFolder
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import cut_window
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.pipelines.facts import MarketFacts, check_market, market_facts, training_facts, windows_of
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.tracking.log import set_tags

logger = logging.getLogger(__name__)


def train_sb3_baseline(
    prices: pl.DataFrame,
    market_states: dict[str, pl.DataFrame],
    found_facts: MarketFacts,
    data: DataConfig,
    news: NewsConfig,
    simulated: SimulatedConfig,
    features: FeaturesConfig,
    env: EnvConfig,
    runtime: RuntimeConfig,
    seed: int,
) -> WritesFolder:
    """Train Stable-Baselines3's PPO on numeric indicators of the training window."""
    from flag_kedro.experiments.sb3_agent import TIMESTEPS, train_sb3
    from flag_kedro.ppo.device import prepare_torch

    check_market(found_facts, market_facts(data, news, simulated, features))
    facts = training_facts(market_states, data, env)
    set_tags({"data_hash": facts["data_hash"]})
    prepare_torch(runtime)
    train = windows_of(market_states, data).train
    cut = partial(cut_window, fill=facts["env"]["fill"], positions=env.positions)
    windows = [cut({symbol: market_states[symbol]}, train) for symbol in cut(market_states, train).symbols]
    logger.info("training Stable-Baselines3's PPO for %d account-decisions", TIMESTEPS)
    return train_sb3(prices, windows, env, seed, facts=facts | {"seed": seed})
