"""Advantages against sums worked by hand."""

import pytest
import torch

from flag_kedro.ppo.advantages import estimate_advantages


def column(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float32)[:, None]


def flags(*values: bool) -> torch.Tensor:
    return torch.tensor(values)[:, None]


NEVER = flags(False, False, False)


def test_lambda_zero_is_the_one_step_error():
    advantages, _ = estimate_advantages(
        column(1, 2, 3), column(10, 20, 30), column(20, 30, 40), NEVER, NEVER, gamma=0.5, gae_lambda=0.0
    )
    # 1 + 0.5 x 20 - 10, 2 + 0.5 x 30 - 20, 3 + 0.5 x 40 - 30
    assert advantages.flatten().tolist() == [1.0, -3.0, -7.0]


def test_lambda_one_gives_discounted_return_minus_value():
    advantages, targets = estimate_advantages(
        column(1, 2, 3), column(10, 20, 30), column(20, 30, 8), NEVER, NEVER, gamma=0.5, gae_lambda=1.0
    )
    # returns with V = 8 behind the last step: 3 + 4 = 7; 2 + 3.5 = 5.5; 1 + 2.75 = 3.75
    assert targets.flatten().tolist() == [3.75, 5.5, 7.0]
    assert advantages.flatten().tolist() == [-6.25, -14.5, -23.0]


def test_truncated_step_bootstraps_but_terminated_step_does_not():
    arguments = (column(1, 1, 1), column(0, 0, 0), column(10, 10, 10))
    truncated, _ = estimate_advantages(*arguments, NEVER, flags(False, True, False), gamma=1.0, gae_lambda=0.0)
    terminated, _ = estimate_advantages(*arguments, flags(False, True, False), NEVER, gamma=1.0, gae_lambda=0.0)
    assert truncated.flatten().tolist() == [11.0, 11.0, 11.0]
    assert terminated.flatten().tolist() == [11.0, 1.0, 11.0]


@pytest.mark.parametrize("kind", ["terminated", "truncated"])
def test_reward_after_episode_end_does_not_reach_earlier_steps(kind: str):
    end = flags(False, True, False)
    ends = (end, NEVER) if kind == "terminated" else (NEVER, end)
    values, following = column(0, 0, 0), column(0, 0, 0)
    poor, _ = estimate_advantages(column(1, 1, 0), values, following, *ends, gamma=0.9, gae_lambda=0.9)
    rich, _ = estimate_advantages(column(1, 1, 1000), values, following, *ends, gamma=0.9, gae_lambda=0.9)
    assert torch.equal(poor[:2], rich[:2])
    assert rich[2] == 1000


def test_episodes_that_end_in_both_ways_within_one_rollout():
    """gamma = lambda = 0.5, so a step's error counts a quarter one step before."""
    rewards, values, following = column(1, 1, 1, 1, 1), column(2, 2, 2, 2, 2), column(4, 4, 4, 4, 4)
    terminated, truncated = flags(False, True, False, False, False), flags(False, False, False, True, False)
    advantages, targets = estimate_advantages(
        rewards, values, following, terminated, truncated, gamma=0.5, gae_lambda=0.5
    )
    # errors: 1 + 0.5 x 4 - 2 = 1, at the ruin 1 - 2 = -1
    # last episode, cut by the rollout's end: 1
    # second, truncated at step 3: 1, and at step 2 1 + 0.25 x 1
    # first, ruined at step 1: -1, and at step 0 1 + 0.25 x -1
    assert advantages.flatten().tolist() == [0.75, -1.0, 1.25, 1.0, 1.0]
    assert targets.flatten().tolist() == [2.75, 1.0, 3.25, 3.0, 3.0]


def test_accounts_do_not_mix():
    together = [torch.randn(4, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    ends = [torch.zeros(4, 3, dtype=torch.bool) for _ in range(2)]
    ends[0][1, 0] = ends[1][2, 1] = True
    whole, _ = estimate_advantages(*together, *ends, gamma=0.9, gae_lambda=0.8)
    for account in range(3):
        alone = [part[:, [account]] for part in (*together, *ends)]
        assert torch.equal(estimate_advantages(*alone, gamma=0.9, gae_lambda=0.8)[0], whole[:, [account]])
