"""Rollouts: keyed randomness, legal samples, and the right value behind every step."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flag_kedro.env.config import EnvConfig
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.env.window import TradingWindow
from flag_kedro.policy.actor_critic import ActorCritic
from flag_kedro.ppo.actions import sample_actions, uniform_draws
from flag_kedro.ppo.advantages import estimate_advantages
from flag_kedro.ppo.rollout import RolloutCollector


def test_draws_of_a_symbol_do_not_depend_on_the_other_symbols():
    both = uniform_draws(7, "action", ("ALDR", "BRIX"), 3, 4)
    alone = uniform_draws(7, "action", ("BRIX",), 3, 4)
    assert np.array_equal(both[4:], alone)


def test_draws_of_an_account_do_not_depend_on_the_number_of_accounts():
    few, many = (uniform_draws(7, "action", ("ALDR",), 3, num) for num in (2, 9))
    assert np.array_equal(few, many[:2])


def test_draws_differ_by_seed_purpose_symbol_and_step():
    keys = [(7, "action", "ALDR", 3), (8, "action", "ALDR", 3), (7, "other", "ALDR", 3), (7, "action", "BRIX", 3)]
    keys.append((7, "action", "ALDR", 4))
    assert len({float(uniform_draws(seed, purpose, (name,), step, 1)[0]) for seed, purpose, name, step in keys}) == 5


def test_sampling_inverts_the_cumulative_distribution():
    log_probs = torch.log(torch.tensor([[0.2, 0.3, 0.5]]).repeat(5, 1))
    chosen = sample_actions(log_probs, np.array([0.0, 0.19, 0.21, 0.49, 0.51]))
    assert chosen.tolist() == [0, 0, 1, 1, 2]


@given(
    logits=st.lists(st.floats(-80, 80), min_size=3, max_size=3),
    draw=st.floats(0, 1, exclude_max=True),
    masked=st.sampled_from([0, 2]),
)
def test_masked_actions_are_never_sampled(logits: list[float], draw: float, masked: int):
    scores = torch.tensor([logits])
    scores[0, masked] = -torch.inf
    assert sample_actions(torch.log_softmax(scores, dim=-1), np.array([draw]))[0] != masked


def test_truncated_steps_look_at_the_state_before_the_reset(
    make_model: Callable[[], ActorCritic], small_window: TradingWindow
):
    model, env = make_model(), TradingVectorEnv(small_window, EnvConfig(), 2)
    num_steps = int(small_window.num_sessions[0]) + 1  # one step into the second episode
    rollout = RolloutCollector(env, 0, 2, None).collect(model, num_steps)
    end = num_steps - 2
    assert rollout.truncated.sum(dim=1).tolist() == [0] * (end - 1) + [4, 0, 0]
    assert len(rollout.episode_returns) == 4
    following = rollout.values[1:]
    going = ~rollout.truncated[:-1]
    assert torch.equal(rollout.next_values[:-1][going], following[going])
    last_prefix = small_window.prefixes[0][-1]
    assert last_prefix not in rollout.states.prefix  # no decision with a reward is taken there
    assert not torch.equal(rollout.next_values[end - 1], following[end - 1])


def test_ruin_is_a_termination_that_nothing_is_bootstrapped_from(
    make_model: Callable[[], ActorCritic], small_window: TradingWindow
):
    prices = np.full_like(small_window.mark_prices, 10.0)
    prices[:, 3:] = 25.0  # ruins whoever is short then, long before the window's end
    window = replace(small_window, positions="long_short", fill_prices=prices, mark_prices=prices)
    env = TradingVectorEnv(window, EnvConfig(positions="long_short", cost_bps=0.0, slippage_bps=0.0), 8)
    rollout = RolloutCollector(env, 0, 8, None).collect(make_model(), 5)
    ruined = rollout.terminated[2]
    assert 0 < ruined.sum() < len(ruined)
    assert rollout.terminated.sum() == ruined.sum()
    assert not rollout.truncated.any()
    assert (rollout.positions[2] == -1)[ruined.numpy()].all()
    assert torch.allclose(rollout.rewards[2][ruined], torch.tensor(1e-4).log(), rtol=1e-3)
    assert len(rollout.episode_returns) == ruined.sum()
    assert rollout.next_values[2][ruined].abs().min() > 0  # there is a value that could have been used
    flags = (rollout.terminated, rollout.truncated)
    advantages, targets = estimate_advantages(
        rollout.rewards, rollout.values, rollout.next_values, *flags, gamma=0.9, gae_lambda=0.8
    )
    assert torch.allclose(targets[2][ruined], rollout.rewards[2][ruined])  # the reward and nothing after it
    assert torch.allclose(advantages[2][ruined], (rollout.rewards - rollout.values)[2][ruined])
    assert not torch.isclose(targets[2][~ruined], rollout.rewards[2][~ruined]).any()


def test_episodes_go_on_from_one_rollout_to_the_next(
    make_model: Callable[[], ActorCritic], small_window: TradingWindow
):
    model = make_model()
    whole = RolloutCollector(TradingVectorEnv(small_window, EnvConfig(), 2), 0, 2, None).collect(model, 6)
    collector = RolloutCollector(TradingVectorEnv(small_window, EnvConfig(), 2), 0, 2, None)
    parts = [collector.collect(model, 3), collector.collect(model, 3)]
    assert torch.equal(whole.actions, torch.cat([part.actions for part in parts]))
    assert torch.equal(whole.rewards, torch.cat([part.rewards for part in parts]))
    assert torch.equal(whole.log_probs, torch.cat([part.log_probs for part in parts]))


def test_all_prompts_of_a_rollout_are_announced_before_it_and_change_no_bit(
    make_model: Callable[[], ActorCritic], small_window: TradingWindow, monkeypatch: pytest.MonkeyPatch
):
    """From the middle of an episode on over its end into the next."""
    num_steps = int(small_window.num_sessions[0])
    start = np.full(len(small_window.symbols), 2)
    announced: list[str] = []
    rollouts = []
    for read_ahead in (lambda model, texts: announced.extend(texts), ActorCritic.read_ahead):
        monkeypatch.setattr(ActorCritic, "read_ahead", read_ahead)
        env = TradingVectorEnv(small_window, EnvConfig(), 2)
        rollouts.append(RolloutCollector(env, 0, 2, start).collect(make_model(), num_steps))
    unread, read = rollouts
    assert set(read.states.prefix) <= set(announced)
    assert torch.equal(unread.log_probs, read.log_probs)
    assert torch.equal(unread.next_values, read.next_values)
