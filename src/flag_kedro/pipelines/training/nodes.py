"""Nodes of the training pipeline. torch is imported inside, so that listing pipelines stays quick."""

import logging
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.datasets.folders import WritesFolder
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.prompt import tokenizer_texts
from flag_kedro.env.window import cut_window, effective_fill
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.pipelines.facts import MarketFacts, check_market, market_facts, training_facts, windows_of
from flag_kedro.pipelines.progress import progress_bar
from flag_kedro.pipelines.training.progress import follow
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.history import wall_times, without_wall_times
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.tracking.interrupts import stop_if_asked
from flag_kedro.tracking.log import run_id, set_tags

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backbone:
    """A backbone still to be written."""

    config: PolicyConfig
    texts: list[str]
    seed: int

    def write(self, folder: Path) -> None:
        """Build or fetch it into `folder`."""
        from flag_kedro.policy.backbone import write_backbone

        write_backbone(self.config, self.texts, self.seed, folder)


def prepare_backbone(
    market_states: dict[str, pl.DataFrame],
    found_facts: MarketFacts,
    data: DataConfig,
    news: NewsConfig,
    simulated: SimulatedConfig,
    features: FeaturesConfig,
    env: EnvConfig,
    policy: PolicyConfig,
    seed: int,
) -> WritesFolder:
    """Build or fetch the backbone; the tiny tokenizer learns from prompts of the training window alone."""
    check_market(found_facts, market_facts(data, news, simulated, features))
    fill = effective_fill(env.fill, market_states)
    if fill != env.fill:
        logger.warning("the source has symbols without opens: decisions fill at %s, not %s", fill, env.fill)
    window = cut_window(market_states, windows_of(market_states, data).train, fill, positions=env.positions)
    return Backbone(policy, tokenizer_texts(window.prefixes, env.positions), seed)


@dataclass(frozen=True)
class TrunkRows:
    """What the trunk says of some prompts, still to be written."""

    backbone: Path
    prefixes: list[str]
    env: EnvConfig
    policy: PolicyConfig
    runtime: RuntimeConfig

    def write(self, folder: Path) -> None:
        """Add the rows that `folder` lacks."""
        from flag_kedro.ppo.encoding import start_encoding

        with progress_bar("reading prompts", len(self.prefixes)) as advance:
            rows = start_encoding(self.backbone, self.prefixes, self.env, self.policy, self.runtime, folder)
            before = None
            for done in rows:
                if before is None:
                    logger.info("%d of %d prompts are in %s already", done, len(self.prefixes), folder)
                advance(done - (before or 0))
                before = done


@dataclass(frozen=True)
class NoRows:
    """Nothing to write ahead of training."""

    def write(self, folder: Path) -> None:
        """Leave `folder` as it is."""


def encode_trunk(
    market_states: dict[str, pl.DataFrame],
    backbone: Path,
    data: DataConfig,
    env: EnvConfig,
    policy: PolicyConfig,
    runtime: RuntimeConfig,
) -> WritesFolder:
    """Read every prompt of all windows once with all account texts, where `policy.trunk_cache` is `disk`."""
    if policy.trunk_cache != "disk":
        logger.info("policy.trunk_cache is %s: no prompt is read ahead", policy.trunk_cache)
        return NoRows()
    fill = effective_fill(env.fill, market_states)
    windows = windows_of(market_states, data)
    spans = [span for span in (windows.train, windows.validation, windows.test) if span]
    cut = [cut_window(market_states, span, fill, positions=env.positions) for span in spans]
    prefixes = dict.fromkeys(text for window in cut for texts in window.prefixes for text in texts)
    return TrunkRows(backbone, list(prefixes), env, policy, runtime)


def train_policy(
    market_states: dict[str, pl.DataFrame],
    backbone: Path,
    trunk_cache: Path,
    checkpoints: Path,
    data: DataConfig,
    env: EnvConfig,
    policy: PolicyConfig,
    ppo: PPOConfig,
    runtime: RuntimeConfig,
    seed: int,
) -> tuple[WritesFolder, list[dict[str, float]], list[dict[str, float]]]:
    """Train on the training window, or go on where the same training was stopped.

    Returns:
        The bundle, and one row per update twice: its wall times, and its other metrics, which the same training
        always repeats.
    """
    from flag_kedro.policy.bundle import TrainedPolicy
    from flag_kedro.ppo.checkpoint_key import open_checkpoints
    from flag_kedro.ppo.training import start_training
    from flag_kedro.ppo.training_spec import TrainingSpec

    facts = training_facts(market_states, data, env) | {"seed": seed}
    set_tags({"data_hash": facts["data_hash"]})
    windows = windows_of(market_states, data)
    cut = partial(cut_window, market_states, fill=facts["env"]["fill"], positions=env.positions)
    train = cut(windows.train)
    validation = cut(windows.validation) if windows.validation else None
    if validation is None:
        logger.warning(
            "no validation window: the last weights are kept (set data.windows.validation to choose the best)"
        )
    saved = open_checkpoints(checkpoints, facts, backbone, policy, ppo, runtime, run_id())
    try:
        spec = TrainingSpec(backbone, trunk_cache, train, validation, env, policy, ppo, runtime, seed)
        model, updates = start_training(spec, saved)
        with closing(updates):
            rows = follow(updates, ppo.num_updates(len(train.symbols)))
    finally:
        saved.close()
        if saved.resumed_from is not None:
            set_tags({"resumed_from": saved.resumed_from})
    bundle = TrainedPolicy(model, backbone, facts | {"ppo": ppo.learning()})
    return bundle, [wall_times(row) for row in rows], [without_wall_times(row) for row in rows]


def train_text_baseline(
    market_states: dict[str, pl.DataFrame],
    policy: Path,
    data: DataConfig,
    env: EnvConfig,
    ppo: PPOConfig,
    runtime: RuntimeConfig,
    seed: int,
) -> WritesFolder:
    """Train the bag-of-words policy as `policy` was trained: same data, windows, budget and seed."""
    from flag_kedro.policy.bag_of_words import TrainedBagOfWords
    from flag_kedro.policy.bundle import check_facts, read_description
    from flag_kedro.ppo.text_baseline import start_bag_of_words

    facts = training_facts(market_states, data, env) | {"seed": seed}
    check_facts(read_description(policy), facts)
    windows = windows_of(market_states, data)
    cut = partial(cut_window, market_states, fill=facts["env"]["fill"], positions=env.positions)
    train, validation = cut(windows.train), cut(windows.validation) if windows.validation else None
    model, updates = start_bag_of_words(train, validation, env, ppo, runtime, seed)
    for _ in updates:  # its curves are not logged: they would mix with the language model's
        stop_if_asked()
    return TrainedBagOfWords(model, facts)
