"""Opening the strategies of a backtest: which trained policies there are, and whether they fit what is read now."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flag_kedro import names
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import Decide
from flag_kedro.errors import DataError
from flag_kedro.experiments.cached_policy import CachedPolicy
from flag_kedro.experiments.language_models import TINY_HAS_NO_HEAD, AskedModels
from flag_kedro.experiments.strategies import IndicatorAgent, Strategies
from flag_kedro.experiments.zero_shot import calibrated, measure_means, open_label_reader, zero_shot
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.runtime import RuntimeConfig

if TYPE_CHECKING:
    import torch

    from flag_kedro.policy.actor_critic import ActorCritic
    from flag_kedro.policy.interface import Evaluator
    from flag_kedro.policy.label_likelihood import LabelReader
    from flag_kedro.policy.trunk_cache import TrunkCache

logger = logging.getLogger(__name__)


def open_strategies(
    split: MarketSplit,
    backbone: Path,
    policy: Path,
    text_baseline: Path,
    sb3_baseline: Path | None,
    trunk_cache: Path,
    asked: AskedModels,
    runtime: RuntimeConfig,
    seed: int,
) -> Strategies:
    """Find the trained policies, each refused unless it was trained on the facts of `split`.

    Args:
        split: the market as it is read now.
        backbone: folder of the backbone, unless the bundle brings its own.
        policy: the bundle.
        text_baseline: folder of the bag-of-words policy.
        sb3_baseline: folder of the Stable-Baselines3 agent; left out with a warning where it does not fit.
        trunk_cache: folder of what the trunk said, where `policy.trunk_cache` is `disk`.
        asked: language models that are asked without training.
        runtime: device and threads.
        seed: of the random baseline.

    Raises:
        DataError: when a policy is damaged or was trained on something else.
        ParameterError: when the device that `runtime` asks for is not there.
    """
    from flag_kedro.policy.bag_of_words import FACTS, load_bag_of_words
    from flag_kedro.policy.bundle import check_facts, read_description
    from flag_kedro.ppo.device import prepare_torch

    device = prepare_torch(runtime)
    description = read_description(policy)
    check_facts(description, split.facts)
    check_facts(json.loads((text_baseline / FACTS).read_text()), split.facts, "06_models/text_baseline")
    models = _LanguageModels(policy, backbone, trunk_cache, description, split, seed, device)
    return Strategies(
        policies={
            names.POLICY: _once(models.trained),
            names.UNTRAINED_LM: _once(models.untrained),
            names.TEXT_LINEAR_PPO: _once(lambda: load_bag_of_words(text_baseline)),
            **_asked_models(models, asked),
        },
        indicator_agent=None if sb3_baseline is None else _optional_agent(sb3_baseline, split.facts),
        split=split,
        seed=seed,
        asked=asked,
    )


def _asked_models(models: "_LanguageModels", asked: AskedModels) -> dict[str, Callable[[], CachedPolicy]]:
    """Openers of the language models that are not trained."""
    openers: dict[str, Callable[[], CachedPolicy]] = {}
    if asked.zero_shot and models.config.backbone == names.TINY:
        logger.info("%s", TINY_HAS_NO_HEAD)
    elif asked.zero_shot:
        openers = {
            names.ZERO_SHOT_LM: cache(lambda: CachedPolicy(models.zero_shot())),
            names.CALIBRATED_LM: cache(lambda: CachedPolicy(models.calibrated())),
        }
    if (endpoint := asked.open_endpoint()) is not None:
        openers[names.ENDPOINT_LM] = cache(lambda: CachedPolicy(endpoint.decide))
    return openers


@dataclass(frozen=True, eq=False)
class _LanguageModels:
    """The policy in a bundle, and the same model as it was before training; both share one trunk cache."""

    policy: Path
    backbone: Path
    trunk_rows: Path
    description: dict[str, Any]
    """`policy.json` of the bundle."""
    split: MarketSplit
    seed: int
    """Of the rule whose accounts calibrate."""
    device: "torch.device"

    @property
    def config(self) -> PolicyConfig:
        """Parameters of the bundle's policy."""
        return PolicyConfig(**self.description["policy"])

    @property
    def folder(self) -> Path:
        """Folder of the backbone."""
        return self.policy / "backbone" if (self.policy / "backbone").is_dir() else self.backbone

    @cached_property
    def account_texts(self) -> list[str]:
        """Account texts behind which each prompt is read at once; with rows on disk none, unless there are rows."""
        from flag_kedro.ppo.encoding import texts_read_with_prompts

        if self.config.trunk_cache != "disk" or any(self.trunk_rows.iterdir()):
            return texts_read_with_prompts(self.split.env, self.config)
        logger.warning(
            "no prompt was read ahead into %s: give the training's trunk_cache_dir to save time", self.trunk_rows
        )
        return []

    @cached_property
    def trunk_cache(self) -> "TrunkCache | None":
        """What the trunk says, shared by both."""
        from flag_kedro.policy.trunk import open_trunk_cache

        return open_trunk_cache(self.folder, self.config, self.device, self.trunk_rows)

    def trained(self) -> "ActorCritic":
        """The policy."""
        from flag_kedro.policy.bundle import load_policy

        return self._with_rows(load_policy(self.policy, self.backbone, self.device, self.trunk_cache))

    def untrained(self) -> "ActorCritic":
        """The policy before training."""
        from flag_kedro.policy.actor_critic import build_actor_critic

        seed = self.description["seed"]
        return self._with_rows(build_actor_critic(self.folder, self.config, seed, self.device, self.trunk_cache))

    @cached_property
    def labels(self) -> "LabelReader":
        """The backbone as a language model, shared by raw and calibrated decisions.

        Raises:
            ParameterError: when its folder has no head.
        """
        return open_label_reader(self.folder, self.config, self.device)

    def zero_shot(self) -> Decide:
        """The likeliest word."""
        return zero_shot(self.labels)

    def calibrated(self) -> Decide:
        """The word that is likeliest beside its mean."""
        return calibrated(self.labels, measure_means(self.labels, self.split, self.seed))

    def _with_rows(self, model: "ActorCritic") -> "ActorCritic":
        """Let it read prompts as the training did, together with account texts."""
        model.complete_rows(self.account_texts)
        return model


def _once(opener: Callable[[], "Evaluator"]) -> Callable[[], CachedPolicy]:
    """Open a policy at the first call and give the same one ever after."""

    def open_policy() -> CachedPolicy:
        policy = opener()
        return CachedPolicy(policy.decide, policy.read_ahead)

    return cache(open_policy)


def _optional_agent(folder: Path, facts: dict[str, Any]) -> IndicatorAgent | None:
    """The Stable-Baselines3 agent in `folder`; None, with a warning, where it does not fit this run."""
    from flag_kedro.experiments.sb3_agent import load_sb3
    from flag_kedro.policy.bundle import check_facts

    try:
        agent = load_sb3(folder)
        check_facts(agent.facts, facts, "06_models/sb3_baseline", train="sb3_baseline")
    except DataError as error:
        logger.warning("sb3_ppo is left out of this backtest: %s", error)
        return None
    decide: IndicatorAgent = agent.decide
    return decide
