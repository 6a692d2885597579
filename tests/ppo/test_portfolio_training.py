"""PPO on weights: it finds what was planted, and learns alike however a minibatch is cut."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest
import torch
from accelerate import Accelerator
from tabular import TabularPolicy

from flag_kedro.backtest.portfolio_replay import replay_portfolio
from flag_kedro.env.config import EnvConfig, PortfolioConfig
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.policy.allocation import likeliest_weights
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.trainer import Trainer

NUM, EFFECT = 80, 0.02
WORDS = {-1: "- bad", 0: "none", 1: "- good"}
FREE = EnvConfig(cost_bps=0.0, slippage_bps=0.0)
CONFIG = PPOConfig(
    total_timesteps=16 * 20 * 60, num_envs=16, num_steps=20, learning_rate=0.1, gamma=0.0, gae_lambda=0.0,
    norm_adv=True, clip_vloss=False, ent_coef=0.0, vf_coef=0.5, kl_coef=0.0, max_grad_norm=1e9, minibatch_size=160,
    gradient_accumulation_steps=1, anneal_lr=True, update_epochs=2, stagger_starts=True, reward_scale=100.0,
    validation_interval=1000,
)  # fmt: skip


@pytest.fixture
def news() -> np.ndarray:
    """Bad, none or good for three symbols in each session, [3, NUM]."""
    return np.random.default_rng(1).integers(-1, 2, (3, NUM))


@pytest.fixture
def window(make_states: Callable[..., pl.DataFrame], news: np.ndarray) -> TradingWindow:
    """News moves the next session from its open to its close; nothing happens overnight."""
    generator, states = np.random.default_rng(2), {}
    for symbol, row in zip("ABC", news, strict=True):
        moves = EFFECT * np.concatenate([[0], row[:-1]]) + 0.003 * generator.standard_normal(NUM)
        closes = 100.0 * np.exp(np.cumsum(moves))
        opens = np.concatenate([[100.0], closes[:-1]])
        texts = pl.Series("news_text", [WORDS[int(sign)] for sign in row])
        states[symbol] = make_states(closes.tolist(), opens.tolist()).with_columns(texts)
    return cut_window(states, (date(2024, 1, 1), date(2099, 1, 1)), "next_open")


def table() -> TabularPolicy:
    return TabularPolicy(3, lambda prefix, account: [word in prefix for word in ("bad", "none", "good")].index(True))


def trained(
    window: TradingWindow, config: PPOConfig, portfolio: PortfolioConfig, env: EnvConfig = FREE
) -> TabularPolicy:
    policy = table()
    trainer = Trainer(policy, window, None, env, config, 0, Accelerator(cpu=True), portfolio=portfolio)
    while not trainer.finished:
        trainer.advance()
    return policy


def earned(window: TradingWindow, policy: TabularPolicy, portfolio: PortfolioConfig, env: EnvConfig = FREE) -> float:
    weigh = likeliest_weights(policy, 3, env.positions, portfolio)
    return float(replay_portfolio("p", window, env, portfolio, weigh).equity["log_return"].sum())


def test_weights_go_where_news_is_good_and_away_from_bad(window: TradingWindow, news: np.ndarray):
    portfolio = PortfolioConfig()
    policy = trained(window, CONFIG, portfolio)
    best = EFFECT * (news[:, :-1].max(axis=0) > 0).sum()
    before, after = earned(window, table(), portfolio), earned(window, policy, portfolio)
    assert after > 0.7 * best
    assert after > before + 0.3 * best


def test_with_short_positions_bad_news_is_sold(
    make_states: Callable[..., pl.DataFrame], window: TradingWindow, news: np.ndarray
):
    env = replace(FREE, positions="long_short", borrow_bps_year=0.0)
    both = replace(window, positions="long_short")
    policy = trained(both, CONFIG, PortfolioConfig(), env)
    best = EFFECT * (np.abs(news[:, :-1]).max(axis=0) > 0).sum()
    assert earned(both, policy, PortfolioConfig(), env) > 0.7 * best
    logits = policy.weights()["policy"] + policy.weights()["bias"]
    assert logits[0, 0] > logits[0, 2]
    assert logits[2, 2] > logits[2, 0]


def test_the_parts_of_a_minibatch_do_not_matter(window: TradingWindow):
    short = replace(CONFIG, total_timesteps=16 * 20 * 3)
    whole, parts = (
        trained(window, replace(short, gradient_accumulation_steps=num, kl_coef=0.1), PortfolioConfig())
        for num in (1, 5)
    )
    for name, values in whole.weights().items():
        np.testing.assert_allclose(parts.weights()[name], values, rtol=1e-9, atol=1e-12)


def test_the_first_pass_sees_ratios_of_one(window: TradingWindow):
    trainer = Trainer(table(), window, None, FREE, CONFIG, 0, Accelerator(cpu=True), portfolio=PortfolioConfig())
    rollout = trainer.collector.collect(trainer.model, 20)
    with torch.no_grad():
        again = trainer.collector.head.log_prob(trainer.model.evaluate(rollout.states), rollout.actions)
    torch.testing.assert_close(again, rollout.log_probs)
    assert rollout.values.shape == rollout.rewards.shape == (20, 16)
    assert len(rollout.states) == 3 * 20 * 16
