import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flag_kedro.env.rewards import LogReturn, SharpeIncrement

PNLS = st.lists(st.integers(-500, 500).map(lambda cents: cents / 1_000), min_size=1, max_size=40)


def _rewards(pnls: list[float]) -> list[float]:
    """Rewards for PnLs given as shares of the initial cash."""
    reward = SharpeIncrement(1, initial_cash=1.0)
    return [float(reward.step(np.zeros(1), np.array([pnl]))[0]) for pnl in pnls]


def test_log_return_of_a_doubling_and_a_halving() -> None:
    rewards = LogReturn().step(np.array([100.0, 100.0, 7.0]), np.array([200.0, 50.0, 7.0]))
    assert rewards.tolist() == pytest.approx([math.log(2), -math.log(2), 0.0], abs=1e-15)


def test_first_sharpe_increment_is_zero() -> None:
    assert _rewards([0.3]) == [0.0]


def test_second_sharpe_increment_is_the_first_ratio() -> None:
    # PnLs 1 and 3: mean 2, deviations -1 and 1, variance (1 + 1) / 1 = 2, ratio 2 / sqrt 2 = sqrt 2
    assert _rewards([1.0, 3.0]) == pytest.approx([0.0, math.sqrt(2)], abs=1e-15)


def test_third_sharpe_increment_leads_from_the_second_ratio_to_the_third() -> None:
    # PnLs 1, 3, 5: mean 3, variance (4 + 0 + 4) / 2 = 4, ratio 3 / 2
    assert _rewards([1.0, 3.0, 5.0])[2] == pytest.approx(1.5 - math.sqrt(2), abs=1e-15)


def test_ratio_counts_as_zero_while_nothing_moves() -> None:
    assert _rewards([0.0, 0.0, 0.0]) == [0.0, 0.0, 0.0]
    assert _rewards([0.25, 0.25, 0.25]) == [0.0, 0.0, 0.0]


def test_ratio_counts_as_zero_below_the_smallest_deviation() -> None:
    # deviation of (1, 1 + 1e-13): 7e-14 < 1e-12, although the ratio would be 1.4e13
    assert _rewards([1.0, 1.0 + 1e-13]) == [0.0, 0.0]


@settings(deadline=None)
@given(pnls=PNLS)
def test_sharpe_increments_add_up_to_numpys_mean_over_std_at_every_step(pnls: list[float]) -> None:
    rewards = _rewards(pnls)
    for n in range(1, len(pnls) + 1):
        std = np.std(pnls[:n], ddof=1) if n > 1 else 0.0
        ratio = np.mean(pnls[:n]) / std if std > 1e-12 else 0.0
        assert sum(rewards[:n]) == pytest.approx(ratio, rel=1e-9, abs=1e-9)


@settings(deadline=None)
@given(pnls=PNLS, scale=st.sampled_from([0.5, 2.0, 1024.0]))
def test_sharpe_increments_do_not_depend_on_the_money_at_stake(pnls: list[float], scale: float) -> None:
    assert _rewards([pnl * scale for pnl in pnls]) == pytest.approx(_rewards(pnls), rel=1e-12, abs=1e-12)


def test_sharpe_increment_forgets_only_the_accounts_that_start_again() -> None:
    reward = SharpeIncrement(2, initial_cash=1.0)
    for pnl in (1.0, 3.0):
        reward.step(np.zeros(2), np.full(2, pnl))
    reward.reset(np.array([True, False]))
    first = reward.step(np.zeros(2), np.array([1.0, 5.0]))
    second = reward.step(np.zeros(2), np.array([3.0, 5.0]))
    assert first.tolist() == pytest.approx([0.0, 1.5 - math.sqrt(2)], abs=1e-15)
    assert second[0] == pytest.approx(math.sqrt(2), abs=1e-15)
