"""What drawdown and conditional value at risk take off a reward: by hand, and against numpy."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flag_kedro.env.config import EnvConfig, PortfolioConfig
from flag_kedro.env.portfolio import PortfolioVectorEnv
from flag_kedro.env.rewards import CVaRPenalty, DrawdownPenalty, LogReturn, Reward, SharpeIncrement, make_reward
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.env.window import TradingWindow

PATHS = st.lists(st.integers(1, 400).map(float), min_size=2, max_size=30)


def _rewards(reward: Reward, path: list[float]) -> list[float]:
    """Rewards of one account along its equities."""
    return [float(reward.step(np.array([before]), np.array([after]))[0]) for before, after in pairwise(path)]


def test_only_what_is_added_to_the_largest_drawdown_is_taken_off() -> None:
    # peak 120: a fall to 90 is a drawdown of ln(4/3); to 110 and 100 (ln 1.2) adds nothing; to 80 ln(9/8) more;
    # the new peak of 200 and 150, again ln(4/3), add nothing to ln(3/2); 100 is ln 2
    rewards = _rewards(DrawdownPenalty(1, 2.0), [100.0, 120.0, 90.0, 110.0, 100.0, 80.0, 200.0, 150.0, 100.0])
    expected = [0.0, math.log(4 / 3), 0.0, 0.0, math.log(9 / 8), 0.0, 0.0, math.log(4 / 3)]
    assert rewards == pytest.approx([-2.0 * each for each in expected], abs=1e-15)


@given(path=PATHS)
def test_penalties_of_an_episode_add_up_to_its_largest_drawdown(path: list[float]) -> None:
    shares = 1.0 - np.array(path) / np.maximum.accumulate(path)
    assert sum(_rewards(DrawdownPenalty(1, 1.0), path)) == pytest.approx(math.log1p(-shares.max()), abs=1e-12)


def test_tail_risk_counts_once_the_tail_has_a_loss() -> None:
    # level 1/2: with two losses known, a = -ln 2 and b = ln 2, at most half of them exceed a; then L = ln 4:
    # a + 2 (L - a) = (-1 + 2 x 3) ln 2 = 5 ln 2. With three, at most one exceeds b:
    # L = 0 is no more than b, and b counts
    rewards = _rewards(CVaRPenalty(1, 1.0, 0.5, 10), [1.0, 2.0, 1.0, 0.25, 0.25])
    assert rewards == pytest.approx([0.0, 0.0, -5.0 * math.log(2), -math.log(2)])


@pytest.mark.parametrize("level", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("kind", ["normal", "student", "long_flat"])
def test_mean_penalty_tends_to_the_conditional_value_at_risk(level: float, kind: str) -> None:
    rng, num = np.random.default_rng(11), 20_000
    returns = {
        "normal": rng.normal(0.0005, 0.01, num),
        "student": 0.01 * rng.standard_t(4, num),
        "long_flat": rng.normal(0.0, 0.01, num) * (rng.random(num) < 0.5),
    }[kind]
    path = np.exp(np.concatenate([[0.0], np.cumsum(returns)])).tolist()
    penalties = -np.array(_rewards(CVaRPenalty(1, 1.0, level, num), path))
    worst = np.sort(-returns)[::-1][: int(level * num)]
    assert penalties.mean() == pytest.approx(worst.mean(), rel=0.02)


def test_the_threshold_is_numpys_quantile_of_the_losses_before() -> None:
    rng = np.random.default_rng(5)
    losses = rng.normal(0.0, 0.01, 200)
    path = np.exp(-np.concatenate([[0.0], np.cumsum(losses)])).tolist()
    found = -np.array(_rewards(CVaRPenalty(1, 1.0, 0.05, 200), path))
    for t in range(20, 200):
        threshold = np.quantile(losses[:t], 0.95, method="inverted_cdf")
        assert found[t] == pytest.approx(threshold + max(losses[t] - threshold, 0.0) / 0.05, abs=1e-12)


@given(path=PATHS, other=PATHS)
def test_accounts_go_their_own_ways_and_forget_when_told(path: list[float], other: list[float]) -> None:
    num = min(len(path), len(other))
    config = EnvConfig(reward="sharpe_increment", drawdown_penalty=0.7, cvar_penalty=0.3, cvar_level=0.4)
    first, both = make_reward(config, 1, 60), make_reward(config, 2, 60)
    rows = np.array([path[:num], other[:num]])
    alone = _rewards(first, path[:num])
    together = [both.step(before, after) for before, after in pairwise(rows.T)]
    assert [float(each[0]) for each in together] == alone
    both.reset(np.array([False, True]))
    again = [float(both.step(rows[:, t], rows[:, t + 1])[1]) for t in range(num - 1)]
    assert again == [float(each[1]) for each in together]


def test_without_penalties_a_reward_is_what_it_was() -> None:
    assert type(make_reward(EnvConfig(), 3, 10)) is LogReturn
    assert type(make_reward(EnvConfig(reward="sharpe_increment"), 3, 10)) is SharpeIncrement


def test_what_is_off_is_not_among_the_facts() -> None:
    known = {"fill", "positions", "cost_bps", "slippage_bps", "borrow_bps_year", "cash_rate", "max_participation"}
    known |= {"reward", "differential_sharpe_eta", "account_view", "initial_cash", "max_episode_steps"}
    assert EnvConfig(cvar_level=0.1).facts().keys() == known
    on = EnvConfig(drawdown_penalty=1.0, cvar_penalty=2.0, max_drawdown_stop=0.1).facts()
    extra = {"drawdown_penalty": 1.0, "cvar_penalty": 2.0, "cvar_level": 0.05, "max_drawdown_stop": 0.1}
    assert on == EnvConfig().facts() | extra
    assert EnvConfig(**on) == EnvConfig(drawdown_penalty=1.0, cvar_penalty=2.0, max_drawdown_stop=0.1)


def test_a_penalty_that_no_episode_is_long_enough_for_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"counts from an episode's session 21 on .*max_episode_steps is 20"):
        EnvConfig(cvar_penalty=1.0, max_episode_steps=20)
    assert EnvConfig(cvar_penalty=1.0, max_episode_steps=21).cvar_sessions == 20
    assert EnvConfig(cvar_level=0.3).cvar_sessions == 4


def test_a_portfolio_is_penalised_as_the_single_account(make_window: Callable[..., TradingWindow]) -> None:
    closes = (100.0 * np.exp(np.cumsum(np.random.default_rng(2).normal(0.0, 0.05, 30)))).tolist()
    window = make_window("next_open", A=closes)
    config = EnvConfig(drawdown_penalty=1.5, cvar_penalty=0.5, cvar_level=0.25)
    single, whole = TradingVectorEnv(window, config), PortfolioVectorEnv(window, config, PortfolioConfig())
    whole.reset()
    for t in range(29):
        _, expected, *_ = single.step(np.array([2 if t == 0 else 1]))
        found, *_ = whole.step(np.array([[1.0]]) if t == 0 else None)
        assert found[0] == pytest.approx(expected[0], abs=1e-9)
