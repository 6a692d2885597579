"""A linear policy on words, trained by the same PPO: what a language model must beat."""

import logging
from collections.abc import Generator
from dataclasses import replace

from accelerate import Accelerator

from flag_kedro.env.config import EnvConfig
from flag_kedro.env.prompt import compact_account_texts
from flag_kedro.env.window import TradingWindow
from flag_kedro.policy.bag_of_words import BagOfWordsPolicy, build_bag_of_words
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.device import prepare_torch
from flag_kedro.ppo.history import Metrics
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.ppo.trainer import train

logger = logging.getLogger(__name__)

LEARNING_RATE, ENT_COEF = 5e-3, 0.1
"""PPO's settings for a linear policy: it needs larger steps, and more entropy against noise learned by heart. Chosen
on the validation windows of three simulated markets."""


def start_bag_of_words(
    window: TradingWindow,
    validation: TradingWindow | None,
    env: EnvConfig,
    ppo: PPOConfig,
    runtime: RuntimeConfig,
    seed: int,
) -> tuple[BagOfWordsPolicy, Generator[Metrics, None, None]]:
    """Build a bag-of-words policy on the words of `window` and the generator that trains it in place.

    It learns by the run's `ppo`, with the same budget and seed, but for step size and entropy (above), without gradient
    accumulation, which only saves memory, without a volatility head and limits, which are meant for the language model,
    and on one thread, since its sums are too short to share.

    Args:
        window: sessions to learn from.
        validation: sessions that choose the weights; None keeps the last ones.
        env: the MDP.
        ppo: the run's.
        runtime: device; its threads do not count.
        seed: of every random draw.

    Returns:
        The policy and its training, see `trainer.train`.

    Raises:
        ParameterError: when CUDA is asked for and there is none.
    """
    device = prepare_torch(replace(runtime, threads=1))
    texts = [prefix for prefixes in window.prefixes for prefix in prefixes]
    model = build_bag_of_words(texts, compact_account_texts(env.positions)).to(device)
    logger.info("bag of words on %s: %d words and pairs of words", device, len(model.words))
    config = replace(
        ppo,
        learning_rate=LEARNING_RATE,
        head_learning_rate=None,
        ent_coef=ENT_COEF,
        volatility_coef=0.0,
        gradient_accumulation_steps=1,
        max_kl=None,
        min_entropy=None,
    )
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="no")
    return model, train(model, window, validation, env, config, seed, accelerator)
