"""What budget, minibatches, schedules and refusals of `ppo.*` do; `test_loss_settings` has the terms of the loss."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from accelerate import Accelerator
from tabular import PLAIN, TabularPolicy, learned

from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.trainer import Trainer, train

FOUR_UPDATES = PPOConfig(
    total_timesteps=160, num_envs=2, num_steps=10, learning_rate=5e-4, gamma=0.95, gae_lambda=0.98, update_epochs=1,
    clip_vloss=True, ent_coef=0.05, kl_coef=0.0, gradient_accumulation_steps=8, minibatch_size=32, stagger_starts=False,
    reward_scale=1.0, validation_interval=10,
)  # fmt: skip
"""Of two symbols with two accounts each, ten steps in each rollout."""


@pytest.mark.parametrize(
    ("wrong", "way_out"),
    [
        ({"update_epochs": 2}, r"set ppo\.update_epochs=1 \["),
        ({"gae_lambda": 0.98}, r"set ppo\.gae_lambda=1\.0 \["),
        ({"minibatch_size": 32}, r"set ppo\.minibatch_size=null \["),
        ({"gae_lambda": 0.5, "minibatch_size": 32}, r"set ppo\.gae_lambda=1\.0, ppo\.minibatch_size=null \["),
    ],
)
def test_reinforce_refuses_what_would_make_it_something_else(wrong: dict[str, Any], way_out: str):
    right = {"algorithm": "reinforce", "update_epochs": 1, "gae_lambda": 1.0, "minibatch_size": None}
    assert PPOConfig(total_timesteps=1, **right).algorithm == "reinforce"
    with pytest.raises(ValueError, match="one step over each whole rollout.*: " + way_out):
        PPOConfig(total_timesteps=1, **right | wrong)


def test_minibatch_must_hold_one_group():
    with pytest.raises(ValueError, match=r"ppo\.minibatch_size \(3\) must be at least ppo\.num_envs \(4\)"):
        PPOConfig(total_timesteps=1, num_envs=4, minibatch_size=3)
    assert PPOConfig(total_timesteps=1, num_envs=4, minibatch_size=4).minibatch_size == 4


def test_budget_counts_account_decisions_of_all_symbols_and_pays_for_at_least_one_rollout():
    config = PPOConfig(total_timesteps=1000, num_envs=2, num_steps=40)
    assert config.num_updates(num_symbols=2) == 6  # 1000 / (2 x 40 x 2) = 6.25
    assert config.num_updates(num_symbols=100) == 1


def test_without_a_minibatch_size_every_step_sees_the_whole_rollout():
    watched = learned(replace(PLAIN, num_envs=2, update_epochs=3))
    assert [sorted(rows) for rows in watched.minibatches] == [list(range(24))] * 3


def test_minibatches_are_whole_groups_in_a_new_order_each_epoch_and_the_last_is_smaller():
    watched = learned(replace(PLAIN, num_envs=2, update_epochs=2, minibatch_size=11))
    assert [len(rows) for rows in watched.minibatches] == [10, 10, 4] * 2
    epochs = [[row for rows in watched.minibatches[start : start + 3] for row in rows] for start in (0, 3)]
    assert [sorted(rows) for rows in epochs] == [list(range(24))] * 2
    assert epochs[0] != epochs[1] != list(range(24)) != epochs[0]
    for rows in watched.minibatches:
        assert all(even % 2 == 0 and odd == even + 1 for even, odd in zip(rows[::2], rows[1::2], strict=True))


def test_accumulation_splits_a_minibatch_into_as_many_passes_of_whole_groups():
    watched = learned(replace(PLAIN, num_envs=2, minibatch_size=14, gradient_accumulation_steps=4))
    assert [[len(rows) for rows in passes] for passes in watched.passes] == [[4, 4, 4, 2], [4, 2, 2, 2]]


def trainer_of(window: TradingWindow, **changes: Any) -> Trainer:
    config = replace(FOUR_UPDATES, **changes)
    return Trainer(small_table(), window, None, EnvConfig(), config, 0, Accelerator(cpu=True))


def small_table() -> TabularPolicy:
    """It tells flat accounts from others and nothing more."""
    return TabularPolicy(2, lambda prefix, account: int(account.startswith(" flat")))


def test_learning_rate_is_constant_without_annealing_and_falls_linearly_with_it(small_window: TradingWindow):
    for anneal, expected in ((False, [0.4] * 4), (True, [0.4, 0.3, 0.2, 0.1])):
        trainer = trainer_of(small_window, anneal_lr=anneal, learning_rate=0.4, head_learning_rate=0.8)
        rates = []
        while not trainer.finished:
            trainer.advance()
            rates.append([group["lr"] for group in trainer.optimizer.param_groups])
        assert rates == [pytest.approx([rate, 2 * rate]) for rate in expected]


def test_heads_learn_at_the_backbones_rate_when_they_have_none_of_their_own(small_window: TradingWindow):
    groups = trainer_of(small_window, learning_rate=0.4, head_learning_rate=None).optimizer.param_groups
    assert [(len(group["params"]), group["lr"]) for group in groups] == [(1, 0.4), (2, 0.4)]


def test_staggered_starts_give_each_symbol_a_session_of_its_own_in_the_first_episode_only(
    small_window: TradingWindow,
):
    plain, staggered = (trainer_of(small_window, stagger_starts=stagger) for stagger in (False, True))
    assert plain.env.session.tolist() == [0, 0, 0, 0]
    first, second = staggered.env.session[[0, 2]]
    assert staggered.env.session.tolist() == [first, first, second, second]
    assert first != second
    assert max(first, second) < small_window.num_sessions[0] - 1
    seen = []
    for _ in range(3):
        rollout = staggered.collector.collect(staggered.model, 10)
        ends = np.flatnonzero(rollout.truncated[:, 0].numpy())
        seen += [rollout.states.prefix[4 * (end + 1)] for end in ends if end < 9]
    assert seen
    assert set(seen) == {small_window.prefixes[0][0]}


def test_validation_comes_every_so_many_updates_and_after_the_last(
    small_window: TradingWindow, small_states: Mapping[str, pl.DataFrame]
):
    validation = cut_window(small_states, (date(2023, 8, 1), date(2023, 8, 15)), "next_open")
    config = replace(FOUR_UPDATES, total_timesteps=320, validation_interval=3)
    rows = list(train(small_table(), small_window, validation, EnvConfig(), config, 0, Accelerator(cpu=True)))
    assert ["env/validation_log_return" in row for row in rows] == [False, False, True, False, False, True, False, True]
