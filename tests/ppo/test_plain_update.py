"""Loss, gradients and steps of an update equal those of `plain_update`, written from the papers in another way."""

import copy
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from plain_update import Floats, PlainLearner, Weights, plain_advantages
from tabular import TabularPolicy, Watched, table_of, write_rollout

from flag_kedro.env.config import EnvConfig
from flag_kedro.env.prompt import compact_account_texts
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.env.window import TradingWindow
from flag_kedro.ppo.advantages import estimate_advantages
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.rollout import Rollout, RolloutCollector
from flag_kedro.ppo.trainer import Trainer

STEPS, ACCOUNTS = 6, 4
NUM_STATES = STEPS * ACCOUNTS
PPO = PPOConfig(
    total_timesteps=1, num_envs=2, minibatch_size=10, update_epochs=2, learning_rate=0.05, kl_coef=0.3, ent_coef=0.05,
    vf_coef=0.7, gamma=0.9, gae_lambda=0.8, reward_scale=3.0, max_grad_norm=0.5, num_steps=40, clip_vloss=True,
    gradient_accumulation_steps=8, stagger_starts=False, validation_interval=10,
)  # fmt: skip
REINFORCE = replace(PPO, algorithm="reinforce", minibatch_size=None, update_epochs=1, gae_lambda=1.0)
SWITCHES = [
    {"clip_vloss": clip, "norm_adv": norm, "gradient_accumulation_steps": parts, "bootstrap_truncated": bootstrap}
    for clip, norm, parts, bootstrap in product((True, False), (True, False), (1, 4), (True, False))
]
CLOSE = 1e-6
"""Relative difference allowed; rewards and discounts are float32."""


def drawn_rollout(policy: TabularPolicy) -> Rollout:
    """Episodes that end in both ways, ratios and values that have moved, masks of flat and long accounts."""
    rng = np.random.default_rng(1)
    terminated, truncated = np.zeros((2, STEPS, ACCOUNTS), dtype=bool)
    terminated[2, 1] = terminated[5, 2] = truncated[1, 0] = truncated[3, 3] = truncated[5, 3] = True
    mask = np.where(rng.random((NUM_STATES, 1)) < 0.5, [[False, True, True]], [[True, True, False]])
    with torch.no_grad():
        values = policy.heads["value"].weight.numpy().reshape(STEPS, ACCOUNTS)
    rollout = write_rollout(
        policy,
        rng.normal(size=(STEPS, ACCOUNTS)),
        values + rng.normal(scale=0.3, size=values.shape),
        rng.normal(size=values.shape),
        terminated,
        truncated,
        np.where(rng.random(NUM_STATES) < 0.5, 1, np.where(mask[:, 0], 0, 2)),
        rng.normal(scale=0.3, size=NUM_STATES),
        mask,
    )
    told = torch.from_numpy(np.where(rng.random(NUM_STATES) < 0.2, np.nan, rng.normal(size=NUM_STATES)))
    return replace(rollout, volatility=told) if "volatility" in policy.heads else rollout


def apart(actual: Weights, expected: Weights) -> float:
    """Largest over all weights of |actual - expected| / |expected|, and where 0 is expected of |actual|."""
    assert actual.keys() == expected.keys()
    return max(
        float(np.linalg.norm(actual[name] - weight) / (np.linalg.norm(weight) or 1.0))
        for name, weight in expected.items()
    )


def compare(config: PPOConfig) -> tuple[Watched, dict[str, float]]:
    """Learn from the drawn rollout in both ways; they must agree step by step."""
    forecasts = config.volatility_coef > 0.0
    policy, reference = table_of(NUM_STATES, 0.5, forecasts=forecasts), table_of(NUM_STATES, 0.5, seed=7)
    rollout, anchored = drawn_rollout(policy), config.kl_coef > 0
    rates = dict.fromkeys(("bias", "policy", "value", "volatility"), config.learning_rate)
    plain = PlainLearner(config, policy.weights(), reference.weights() if anchored else None, rates)
    watched = Watched(policy, reference if anchored else None, config)
    metrics = watched.learn(rollout)
    steps, expected = plain.learn(rollout, list(range(NUM_STATES)), watched.minibatches)
    for gradients, expected_gradients in zip(watched.gradients, steps, strict=True):
        assert apart(gradients, expected_gradients) <= CLOSE
    assert apart(policy.weights(), plain.weights) <= CLOSE
    assert metrics == pytest.approx(expected, rel=CLOSE, abs=1e-9)
    return watched, metrics


@pytest.mark.parametrize("switches", SWITCHES, ids=lambda switches: "-".join(map(str, switches.values())))
def test_ppo_equals_the_plain_update(switches: dict[str, object]):
    watched, metrics = compare(replace(PPO, **switches))
    assert len(watched.gradients) == 6  # two epochs of 10, 10 and 4 states
    assert {len(passes) for passes in watched.passes} == (
        {1} if switches["gradient_accumulation_steps"] == 1 else {4, 2}
    )
    assert 0.1 < metrics["ppo/clip_fraction"] < 0.9
    assert metrics["ppo/grad_norm"] > PPO.max_grad_norm  # the gradients were clipped


@pytest.mark.parametrize("switches", SWITCHES, ids=lambda switches: "-".join(map(str, switches.values())))
def test_reinforce_equals_the_plain_update(switches: dict[str, object]):
    watched, _ = compare(replace(REINFORCE, **switches))
    assert len(watched.gradients) == 1


@pytest.mark.parametrize(
    "change", [{"kl_coef": 0.0}, {"ent_coef": 0.0}, {"vf_coef": 0.0}, {"max_grad_norm": 100.0}, {"clip_coef": 0.05}]
)
@pytest.mark.parametrize("config", [PPO, REINFORCE], ids=["ppo", "reinforce"])
def test_every_weight_of_the_loss_equals_the_plain_update(config: PPOConfig, change: dict[str, float]):
    before, after = compare(config)[0], compare(replace(config, **change))[0]
    if change == {"vf_coef": 0.0}:
        assert not after.gradients[0]["value"].any()
        assert before.gradients[0]["value"].any()
    elif change != {"clip_coef": 0.05} or config is PPO:
        assert apart(before.gradients[0], after.gradients[0]) > 1e-3


@pytest.mark.parametrize("config", [PPO, REINFORCE], ids=["ppo", "reinforce"])
def test_a_head_for_volatility_equals_the_plain_update_and_reaches_no_other_weight(config: PPOConfig):
    """Beside it all is as without it but the norm by which gradients are clipped."""
    free = replace(config, max_grad_norm=1e9, minibatch_size=None, update_epochs=1)
    compare(replace(config, volatility_coef=0.8))
    (without, plain), (beside, told) = compare(free), compare(replace(free, volatility_coef=0.8))
    assert "volatility" in beside.gradients[0]
    for name, gradient in without.gradients[0].items():
        np.testing.assert_array_equal(beside.gradients[0][name], gradient)
    assert told["ppo/loss"] == pytest.approx(plain["ppo/loss"] + 0.8 * told["ppo/volatility_loss"])
    assert "ppo/volatility_loss" not in plain


def test_value_clipping_and_both_kinds_of_bootstrap_make_a_difference():
    plain, clipped, paper = (
        compare(replace(PPO, **change))[1]["ppo/value_loss"]
        for change in ({"clip_vloss": False}, {"clip_vloss": True}, {"clip_vloss": False, "bootstrap_truncated": False})
    )
    assert clipped > 1.001 * plain
    assert abs(paper / plain - 1) > 0.001


@pytest.mark.parametrize("bootstrap", [True, False])
@pytest.mark.parametrize(("gamma", "gae_lambda"), [(0.0, 0.5), (0.9, 0.0), (0.95, 0.98), (1.0, 1.0)])
def test_advantages_are_the_sum_of_discounted_one_step_errors(gamma: float, gae_lambda: float, bootstrap: bool):
    config = replace(PPO, gamma=gamma, gae_lambda=gae_lambda, reward_scale=1.0, bootstrap_truncated=bootstrap)
    rollout = drawn_rollout(table_of(NUM_STATES, 0.5))
    following = rollout.next_values if bootstrap else rollout.next_values * ~rollout.truncated
    advantages, targets = estimate_advantages(
        rollout.rewards, rollout.values, following, rollout.terminated, rollout.truncated, gamma=gamma,
        gae_lambda=gae_lambda,
    )  # fmt: skip
    expected = plain_advantages(rollout, config)
    np.testing.assert_allclose(advantages.numpy(), expected, rtol=CLOSE)
    np.testing.assert_allclose(targets.numpy(), expected + rollout.values.numpy(), rtol=CLOSE)


def market_table(window: TradingWindow, env: EnvConfig, seed: int) -> TabularPolicy:
    """A table with a row for each prompt that the window can bring."""
    texts = compact_account_texts(env.positions)
    prefixes = dict.fromkeys(prefix for texts_of_symbol in window.prefixes for prefix in texts_of_symbol)
    row_of = {prompt: row for row, prompt in enumerate(product(prefixes, texts))}
    return TabularPolicy(len(row_of), lambda prefix, account: row_of[prefix, account], 0.5, seed)


def moved(after: Weights, before: Weights) -> dict[str, Floats]:
    return {name: after[name] - before[name] for name in after}


@pytest.mark.parametrize(
    "change",
    [
        {"anneal_lr": True, "head_learning_rate": 0.02},
        {"anneal_lr": False, "head_learning_rate": None, "clip_vloss": False},
        {"algorithm": "reinforce", "update_epochs": 1, "gae_lambda": 1.0},
    ],
    ids=["annealed", "constant", "reinforce"],
)
def test_three_updates_in_the_market_equal_the_plain_ones(small_window: TradingWindow, change: dict[str, object]):
    """Rollout by rollout: Adam's memory, annealing, two step sizes, and KL to the policy of the very beginning."""
    config = replace(
        PPO, num_steps=9, total_timesteps=3 * 9 * 4, minibatch_size=None, gradient_accumulation_steps=4,
        learning_rate=0.1, reward_scale=100.0, **change,
    )  # fmt: skip
    env = EnvConfig(max_episode_steps=7)
    model, seed = market_table(small_window, env, 0), 3
    twin, start = copy.deepcopy(model), model.weights()
    trainer = Trainer(model, small_window, None, env, config, seed, Accelerator(cpu=True))
    collector = RolloutCollector(TradingVectorEnv(small_window, env, 2), seed, 2, None)
    heads = config.head_learning_rate or config.learning_rate
    plain = PlainLearner(config, start, start, {"bias": config.learning_rate, "policy": heads, "value": heads})
    for update in range(3):
        rollout = collector.collect(twin, 9)
        whole = [list(range(len(rollout.states)))] * config.update_epochs
        before = model.weights()
        _, expected = plain.learn(rollout, twin.rows(rollout.states), whole, 1 - update / 3 if config.anneal_lr else 1)
        row = trainer.advance()
        assert apart(moved(model.weights(), before), moved(plain.weights, before)) <= CLOSE
        # abs: the policy loss is a mean of terms of size 1 that nearly cancel
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=CLOSE, abs=1e-7)
        twin.put(plain.weights)
    assert trainer.finished
    assert row["ppo/kl"] > 0.0
