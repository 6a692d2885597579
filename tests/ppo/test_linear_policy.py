"""PPO trains a bag of words through the same interface as the language model."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest
import torch

from flag_kedro.backtest.replay import replay
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.policy.bag_of_words import BagOfWordsPolicy
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.history import Metrics
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.ppo.text_baseline import start_bag_of_words

FREE = EnvConfig(cost_bps=0, slippage_bps=0)
SMALL = PPOConfig(
    total_timesteps=8_000, num_envs=4, num_steps=10, minibatch_size=80, update_epochs=4, gamma=0.0, kl_coef=0.0,
    reward_scale=100.0, validation_interval=100, clip_vloss=False, learning_rate=5e-4, gae_lambda=0.98, ent_coef=0.05,
    gradient_accumulation_steps=8, stagger_starts=False,
)  # fmt: skip
MOVE = 0.03


def learn(
    window: TradingWindow, config: PPOConfig = SMALL, seed: int = 0, validation: TradingWindow | None = None
) -> tuple[BagOfWordsPolicy, list[Metrics]]:
    runtime = RuntimeConfig(device="cpu", threads=1)
    model, updates = start_bag_of_words(window, validation, FREE, config, runtime, seed)
    return model, list(updates)


def earned(window: TradingWindow, model: BagOfWordsPolicy) -> float:
    return float(replay("rule", window, FREE, model.decide).equity["log_return"].sum())


@pytest.fixture
def planted(small_states: Mapping[str, pl.DataFrame]) -> TradingWindow:
    """Prices rise 3 % from the open after one word and fall 3 % after another; the two are drawn at random."""
    rng = np.random.default_rng(0)
    states = {}
    for symbol, table in small_states.items():
        rises = rng.random(table.height) < 0.5
        steps = np.where(rises, MOVE, -MOVE)
        marks = 100 * np.exp(np.concatenate([[0.0], np.cumsum(steps)[:-1]]))
        states[symbol] = table.with_columns(
            news_text=pl.Series(["- profit beats" if up else "- profit falls" for up in rises]),
            mark_price=marks,
            open_price=np.concatenate([marks[:1], marks[:-1]]),
        )
    return cut_window(states, (date(2023, 7, 3), date(2023, 9, 29)), "next_open")


def test_ppo_learns_to_follow_a_word_that_always_comes_true(planted: TradingWindow) -> None:
    model, _ = learn(planted)
    rises = sum("beats" in prefix for prefixes in planted.prefixes for prefix in prefixes[:-1])
    assert earned(planted, model) >= 0.95 * rises * MOVE


def test_same_seed_gives_the_same_bits_and_another_seed_others(planted: TradingWindow) -> None:
    short = replace(SMALL, total_timesteps=320)
    first, again, other = (learn(planted, short, seed)[0].heads.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_ratio_is_exactly_one_before_the_first_optimizer_step(planted: TradingWindow) -> None:
    whole = replace(SMALL, total_timesteps=80, update_epochs=1)
    (row,) = learn(planted, whole)[1]
    assert row["ppo/approx_kl"] == 0.0
    assert row["ppo/clip_fraction"] == 0.0


def test_step_size_is_the_linear_policys_own_and_the_budget_the_runs(planted: TradingWindow) -> None:
    rows = learn(planted, replace(SMALL, total_timesteps=320, learning_rate=1e-9, anneal_lr=False))[1]
    assert [row["step"] for row in rows] == [80, 160, 240, 320]
    assert {row["ppo/learning_rate"] for row in rows} == {5e-3}


def test_best_validation_weights_are_kept(planted: TradingWindow) -> None:
    config = replace(SMALL, total_timesteps=800, validation_interval=1)
    model, rows = learn(planted, config, validation=planted)
    assert earned(planted, model) == max(row["env/validation_log_return"] for row in rows)


def test_vocabulary_comes_from_the_training_window_alone(planted: TradingWindow) -> None:
    other = replace(
        planted, prefixes=tuple(tuple(f"{text} zebra" for text in prefixes[:40]) for prefixes in planted.prefixes)
    )
    model, _ = learn(
        planted, replace(SMALL, total_timesteps=80), validation=replace(other, num_sessions=np.array([40, 40]))
    )
    assert "beats" in " ".join(model.words)
    assert "zebra" not in " ".join(model.words)
