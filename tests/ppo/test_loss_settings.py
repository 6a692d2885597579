"""Each weight, clip and limit of the loss does what its docstring says; `test_plain_update` has all numbers at once."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tabular import PLAIN, TabularPolicy, Watched, learned, table_of, write_rollout

from flag_kedro.env.config import EnvConfig
from flag_kedro.env.states import States
from flag_kedro.env.window import TradingWindow
from flag_kedro.errors import ParameterError, TrainingError
from flag_kedro.ppo.advantages import rollout_advantages
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.limits import refuse_idle_penalty
from flag_kedro.ppo.statistics import explained_variance


def lone_state(config: PPOConfig, reward: float = 0.0, **given: Any) -> tuple[TabularPolicy, dict[str, float]]:
    """A table of one state, and what one update by one step has told."""
    policy = table_of(1)
    rollout = write_rollout(policy, [[reward]], **given)
    return policy, Watched(policy, None, config).learn(rollout)


@pytest.mark.parametrize(("norm_adv", "expected"), [(False, [1.0, 2.0, 3.0]), (True, [-1.0, 0.0, 1.0])])
def test_advantages_are_normalised_by_mean_and_sample_deviation(norm_adv: bool, expected: list[float]):
    rollout = write_rollout(table_of(3), [[1.0], [2.0], [3.0]])
    advantages, targets = rollout_advantages(rollout, replace(PLAIN, norm_adv=norm_adv))
    assert advantages.tolist() == pytest.approx(expected)
    assert targets.tolist() == [1.0, 2.0, 3.0]


def test_equal_advantages_normalise_to_zero():
    advantages, _ = rollout_advantages(write_rollout(table_of(4), np.full((4, 1), 0.5)), replace(PLAIN, norm_adv=True))
    assert advantages.tolist() == [0.0] * 4


def test_reward_scale_sets_the_units_of_targets_and_leaves_normalised_advantages_alone():
    rollout = write_rollout(table_of(3), [[0.01], [0.05], [-0.02]])
    (plain, small), (same, large) = (
        rollout_advantages(rollout, replace(PLAIN, gamma=0.9, gae_lambda=0.5, norm_adv=True, reward_scale=scale))
        for scale in (1.0, 100.0)
    )
    torch.testing.assert_close(large, 100 * small)
    torch.testing.assert_close(same, plain, rtol=1e-4, atol=0)


@pytest.mark.parametrize(("bootstrap", "expected"), [(True, [6.0, 6.0, 1.0]), (False, [1.0, 6.0, 1.0])])
def test_bootstrap_truncated_says_whether_a_cut_episode_goes_on(bootstrap: bool, expected: list[float]):
    rollout = write_rollout(
        table_of(3), np.ones((3, 1)), next_values=10.0, truncated=[[True], [False], [False]],
        terminated=[[False], [False], [True]],
    )  # fmt: skip
    # 1 + 0.5 x 10, or the reward alone; a ruined account never goes on
    _, targets = rollout_advantages(rollout, replace(PLAIN, gamma=0.5, bootstrap_truncated=bootstrap))
    assert targets.tolist() == expected


@pytest.mark.parametrize(
    ("ratio", "reward", "moves"),
    [(1.3, 1.0, False), (1.3, -1.0, True), (0.7, -1.0, False), (0.7, 1.0, True), (1.1, 1.0, True), (0.9, -1.0, True)],
)
def test_clip_coef_stops_a_policy_that_has_gone_far_enough_the_right_way(ratio: float, reward: float, moves: bool):
    policy, row = lone_state(replace(PLAIN, clip_coef=0.2), reward, actions=2, log_ratio=np.log(ratio))
    before, after = 1 / 3, float(torch.softmax(policy.heads["policy"].weight[0] + policy.bias, dim=0)[2].detach())
    assert np.sign(round(after - before, 9)) == (reward if moves else 0)
    assert row["ppo/clip_fraction"] == (abs(ratio - 1) > 0.2)
    assert row["ppo/approx_kl"] == pytest.approx(ratio - 1 - np.log(ratio))


@pytest.mark.parametrize(("clip_vloss", "moves"), [(True, False), (False, True)])
def test_clip_vloss_stops_a_value_that_has_gone_far_enough_the_right_way(clip_vloss: bool, moves: bool):
    """The value is 0, was -0.5 and should be 1: with a clip of 0.2 it counts as -0.3."""
    config = replace(PLAIN, clip_coef=0.2, clip_vloss=clip_vloss, vf_coef=1.0)
    policy, row = lone_state(config, 1.0, values=-0.5)
    assert (policy.weights()["value"].item() > 0) == moves
    assert row["ppo/value_loss"] == pytest.approx(1.3**2 / 2 if clip_vloss else 1.0**2 / 2)


def test_ent_coef_alone_drives_the_policy_towards_uniform():
    policy = table_of(1)
    policy.put(policy.weights() | {"policy": np.array([[2.0, 0.0, 0.0]])})
    rollout = write_rollout(policy, [[0.0]])
    entropies = [Watched(policy, None, replace(PLAIN, ent_coef=0.1)).learn(rollout)["ppo/entropy"] for _ in range(40)]
    assert entropies[0] < 0.7
    assert entropies[-1] == pytest.approx(np.log(3), rel=0.02)
    before = policy.weights()
    Watched(policy, None, PLAIN).learn(rollout)
    assert all(np.array_equal(weight, before[name]) for name, weight in policy.weights().items())


def test_vf_coef_weighs_the_value_loss_and_zero_leaves_the_critic_as_it_is():
    slopes = [learned(replace(PLAIN, vf_coef=weight)).gradients[0]["value"] for weight in (0.0, 0.5, 1.0)]
    assert not slopes[0].any()
    np.testing.assert_allclose(slopes[1], -0.5 / 24)  # value 0, target 1, a mean over 24 states
    np.testing.assert_allclose(slopes[2], -1.0 / 24)


def test_max_grad_norm_bounds_the_gradient_of_all_weights_together():
    rewards = np.random.default_rng(0).normal(size=(12, 2))
    free = learned(replace(PLAIN, vf_coef=1.0), rewards=rewards).gradients[0]
    held = learned(replace(PLAIN, vf_coef=1.0, max_grad_norm=0.01), rewards=rewards).gradients[0]
    norm = np.sqrt(sum((gradient**2).sum() for gradient in free.values()))
    assert norm > 0.1
    for name, gradient in held.items():
        np.testing.assert_allclose(gradient, free[name] * 0.01 / norm, rtol=1e-4)


def test_reported_gradient_norm_is_the_one_before_clipping():
    row = lone_state(replace(PLAIN, vf_coef=1.0, max_grad_norm=0.01), 3.0, actions=1)[1]
    # value: 0 - 3; each logit and its bias: 3 x (1 - 1/3), 3 x 1/3 twice
    assert row["ppo/grad_norm"] == pytest.approx(np.sqrt(9 + 2 * (4 + 1 + 1)))


def one_step(config: PPOConfig) -> dict[str, float]:
    """One optimizer step by a reward that the policy had not looked for."""
    return lone_state(config, 1.0, actions=2)[1]


def test_max_kl_stops_an_update_that_moved_the_policy_too_far():
    # Adam's first step moves logits by 0.1 + 0.1: buy gains 0.4 on the others, from 1/3 to 0.4273
    moved = 0.4273 / (1 / 3) - 1 - np.log(0.4273 * 3)
    assert 0.03 < moved < 0.04
    one_step(replace(PLAIN, max_kl=0.04))
    with pytest.raises(TrainingError, match=r"KL divergence of 0\.033\d* in update 1, ppo\.max_kl allows 0\.03"):
        one_step(replace(PLAIN, max_kl=0.03))


def test_min_entropy_stops_a_policy_that_has_made_up_its_mind():
    one_step(replace(PLAIN, min_entropy=1.098))  # ln 3 = 1.0986
    with pytest.raises(TrainingError, match=r"entropy fell to 1\.1 in update 1, ppo\.min_entropy asks for 1\.1"):
        one_step(replace(PLAIN, min_entropy=1.1))


def test_no_limit_holds_unless_asked_for():
    policy, _ = lone_state(replace(PLAIN, learning_rate=100.0), 1.0, actions=2)
    assert policy.decide(States(["0"], [""], np.array([[True] * 3]))).probabilities[0, 2] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 3.0, 4.0], 1.0),
        ([2.0, 3.0, 4.0, 5.0], 1.0),  # a constant error explains as much
        ([2.5, 2.5, 2.5, 2.5], 0.0),
        ([4.0, 3.0, 2.0, 1.0], -3.0),  # errors -3 -1 1 3: variance 5 of 1.25
        ([1.0, 2.0, 4.0, 3.0], 0.6),  # errors 0 0 -1 1: variance 0.5 of 1.25
    ],
)
def test_explained_variance_is_worked_by_hand(values: list[float], expected: float):
    targets = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert explained_variance(torch.tensor(values), targets) == pytest.approx(expected)


def test_explained_variance_of_targets_that_do_not_vary_is_zero():
    assert explained_variance(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 3.0])) == 0.0


def test_explained_variance_is_told_of_the_values_before_the_update():
    policy = table_of(4)
    rollout = write_rollout(policy, [[1.0], [2.0], [3.0], [4.0]], values=[[1.0], [2.0], [4.0], [3.0]])
    assert Watched(policy, None, PLAIN).learn(rollout)["ppo/explained_variance"] == pytest.approx(0.6)


def test_min_entropy_is_of_states_with_a_choice():
    """Three states of four leave nothing but hold: their entropy of 0 says nothing of the policy."""
    mask = [[True] * 3, *[[False, True, False]] * 3]

    def learn(min_entropy: float, legal: list[list[bool]]) -> dict[str, float]:
        policy = table_of(4)
        rollout = write_rollout(policy, [[0.0], [0.0], [0.0], [0.0]], mask=legal)
        return Watched(policy, None, replace(PLAIN, min_entropy=min_entropy)).learn(rollout)

    assert learn(1.098, mask)["ppo/entropy"] == pytest.approx(np.log(3) / 4)
    with pytest.raises(TrainingError, match=r"entropy fell to 1\.1 in update 1, ppo\.min_entropy asks for 1\.1"):
        learn(1.1, mask)
    learn(1.1, mask[1:] + mask[1:2])  # nothing to choose, so nothing to be undecided about


def test_a_cvar_penalty_that_can_never_count_is_refused_before_anything_is_learned(
    make_window: Callable[..., TradingWindow],
):
    """At a level of 0.25 it counts from the fifth return of an episode on, which needs six sessions."""
    env = EnvConfig(fill="next_close", cvar_penalty=1.0, cvar_level=0.25)
    prices = [10.0, 11.0, 10.0, 12.0, 11.0, 13.0]
    refuse_idle_penalty(make_window("next_close", A=prices, B=prices[:3]), env)
    refuse_idle_penalty(make_window("next_close", A=prices[:5]), replace(env, cvar_penalty=0.0))
    with pytest.raises(ParameterError, match=r"session 5 on .* has 4 returns at most; .*lengthen data\.windows\.train"):
        refuse_idle_penalty(make_window("next_close", A=prices[:5], B=prices[:3]), env)
