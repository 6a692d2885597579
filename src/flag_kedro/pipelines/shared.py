"""Nodes that several pipelines begin with: what they make is in memory, made once a run and shared.

Where a run begins behind them (`--from-nodes`), `datasets.rebuilt` calls them when their output is first loaded.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from kedro.pipeline import Node

from flag_kedro.backtest.config import BacktestConfig
from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.datasets.folders import WritesFolder
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.experiments.language_models import AskedModels
from flag_kedro.experiments.open_strategies import open_strategies
from flag_kedro.experiments.scoring import RunSettings
from flag_kedro.experiments.yardstick import name_market
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_tables import MarketTables
from flag_kedro.features.provenance import MarketFacts, check_market, market_facts
from flag_kedro.names import TINY
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.tracking.log import set_tags

logger = logging.getLogger(__name__)


FEATURES, SETUP, STRATEGY = "features", "setup", "strategies"
"""Namespaces: boxes of the graph that kedro-viz draws; datasets keep their names."""


def params(*groups: str) -> list[str]:
    """Kedro's names of parameter groups."""
    return [f"params:{group}" for group in groups]


def gather_market_tables(
    prices: pl.DataFrame,
    news: pl.DataFrame,
    company_names: dict[str, list[str]],
    universe: pl.DataFrame,
    features: FeaturesConfig,
) -> MarketTables:
    """Put together what market states are built from."""
    return MarketTables(prices, news, company_names, universe, features)


def split_market(
    market_states: dict[str, pl.DataFrame],
    recorded_facts: MarketFacts,
    data: DataConfig,
    news: NewsConfig,
    simulated: SimulatedConfig,
    features: FeaturesConfig,
    env: EnvConfig,
) -> MarketSplit:
    """Split the market states, refused where other parameters made them.

    Raises:
        DataError: naming the parameters.
    """
    check_market(recorded_facts, market_facts(data, news, simulated, features))
    split = MarketSplit.of(market_states, data, env, name_market(simulated), features.num_warming)
    if split.env.fill != env.fill:
        logger.warning("the source has symbols without opens: decisions fill at %s, not %s", split.env.fill, env.fill)
    return split


def choose_training_settings(
    split: MarketSplit, policy: PolicyConfig, ppo: PPOConfig, runtime: RuntimeConfig
) -> RunSettings:
    """The parameters that all trainings of a run share."""
    return RunSettings(split.env, policy, ppo, runtime, split.calendars)


@dataclass(frozen=True)
class SharedBackbone:
    """A backbone still to be fetched; nothing for `tiny`, which each training builds from its own prompts."""

    config: PolicyConfig

    def write(self, folder: Path) -> None:
        """Fetch it into `folder`."""
        from flag_kedro.policy.backbone import write_backbone

        if self.config.backbone != TINY:
            set_tags({"backbone_origin": str(write_backbone(self.config, [], 0, folder))})


def prepare_shared_backbone(policy: PolicyConfig) -> WritesFolder:
    """Fetch the backbone that folds and seeds share."""
    return SharedBackbone(policy)


def choose_asked_models(endpoint_answers: Path, backtest: BacktestConfig) -> AskedModels:
    """The language models that are asked without training, and where a server's answers are kept."""
    return AskedModels(backtest.zero_shot, backtest.endpoint, endpoint_answers)


MARKET_TABLES = Node(
    gather_market_tables,
    inputs=["prices", "news", "company_names", "universe", "params:features"],
    outputs="market_tables",
    name="gather_market_tables",
    namespace=FEATURES,
)
MARKET_SPLIT = Node(
    split_market,
    inputs=["market_states", "market_facts", *params("data", "news", "simulated", "features", "env")],
    outputs="market_split",
    name="split_market",
    namespace=SETUP,
)
TRAINING_SETTINGS = Node(
    choose_training_settings,
    inputs=["market_split", *params("policy", "ppo", "runtime")],
    outputs="training_settings",
    name="choose_training_settings",
    namespace=SETUP,
)
ASKED_MODELS = Node(
    choose_asked_models,
    inputs=["endpoint_answers", "params:backtest"],
    outputs="asked_models",
    name="choose_asked_models",
    namespace=STRATEGY,
)
STRATEGIES = Node(
    open_strategies,
    inputs=[
        *("market_split", "backbone", "policy", "text_baseline", "sb3_baseline", "trunk_cache", "asked_models"),
        *params("runtime", "seed"),
    ],
    outputs="strategies",
    name="open_strategies",
    namespace=STRATEGY,
)
SHARED_BACKBONE = Node(
    prepare_shared_backbone,
    inputs="params:policy",
    outputs="shared_backbone",
    name="prepare_shared_backbone",
    namespace=SETUP,
)
