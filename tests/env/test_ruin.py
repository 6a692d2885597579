"""Ruin, worked by hand: without costs 1,000 sold short at 10 are -100 shares and 2,000 in cash; at 21 that is -100."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flag_kedro.env.account import BUY, HOLD, SELL
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.trading import TradingEnv, TradingVectorEnv
from flag_kedro.env.window import TradingWindow

MakeWindow = Callable[..., TradingWindow]
MakeShorts = Callable[..., EnvConfig]


@pytest.fixture(scope="session")
def free_shorts(make_config: Callable[..., EnvConfig]) -> MakeShorts:
    """`long_short` without costs and fees."""

    def make(**fields: Any) -> EnvConfig:
        return make_config(positions="long_short", cost_bps=0.0, slippage_bps=0.0, borrow_bps_year=0.0, **fields)

    return make


def _play(env: TradingVectorEnv, actions: list[int]) -> list[dict[str, Any]]:
    """What every step of one account gave."""
    steps = []
    for action in actions:
        _, rewards, terminated, truncated, info = env.step(np.array([action]))
        given = {"reward": rewards, "terminated": terminated, "truncated": truncated, "held": info["position"]}
        given |= {"equity": info["equity"], "traded": info["traded_value"]}
        steps.append({name: values[0].item() for name, values in given.items()})
    return steps


def _column(steps: list[dict[str, Any]], name: str) -> list[Any]:
    return [step[name] for step in steps]


@pytest.mark.parametrize("fill", ["next_open", "next_close", "same_close"])
@pytest.mark.parametrize("reward", ["log_return", "sharpe_increment", "differential_sharpe"])
def test_short_whose_price_more_than_doubles_is_terminated_with_a_finite_loss(
    fill: str, reward: str, make_window: MakeWindow, free_shorts: MakeShorts
) -> None:
    window = make_window(fill, positions="long_short", A=[10, 10, 21, 20, 20, 20])
    config = free_shorts(reward=reward)
    env = TradingVectorEnv(window, config)
    env.step(np.array([SELL]))
    observed, rewards, terminated, truncated, info = env.step(np.array([HOLD]))
    assert terminated.tolist() == [True]
    assert truncated.tolist() == [False]
    assert np.isfinite(rewards).all()
    assert info["equity"].tolist() == [0.1]  # a ten-thousandth of the 1,000 at the mark before
    assert info["position"].tolist() == [-1]
    assert info["final_obs"][0]["position"] == 0
    assert info["final_states"].account[0] == " flat. Decision:"
    if reward == "log_return":
        assert rewards[0] == pytest.approx(math.log(1e-4), rel=1e-14)
    # a new account goes on where the old one was ruined
    assert observed["session"].tolist() == [2]
    assert env.equity().tolist() == [1_000.0]
    _, rewards, terminated, _, info = env.step(np.array([HOLD]))
    assert (rewards[0], bool(terminated[0]), info["equity"][0]) == (0.0, False, 1_000.0)


def test_equity_of_exactly_nothing_is_ruin(make_window: MakeWindow, free_shorts: MakeShorts) -> None:
    window = make_window("next_close", positions="long_short", A=[10, 10, 20, 20])
    env = TradingVectorEnv(window, free_shorts())
    assert _column(_play(env, [SELL, HOLD]), "terminated") == [False, True]


def test_ruin_within_the_session_of_the_sale_counts_as_held_short(
    make_window: MakeWindow, free_shorts: MakeShorts
) -> None:
    window = make_window("next_open", positions="long_short", A=([10, 10, 10], [10, 25, 25]))
    env = TradingVectorEnv(window, free_shorts())
    step = _play(env, [SELL])[0]
    assert (step["terminated"], step["held"], step["traded"]) == (True, -1, 1_000.0)


def test_ruin_at_the_last_session_is_termination_and_starts_the_window_anew(
    make_window: MakeWindow, free_shorts: MakeShorts
) -> None:
    window = make_window("same_close", positions="long_short", A=[10, 10, 25])
    env = TradingVectorEnv(window, free_shorts())
    step = _play(env, [HOLD, SELL])[1]
    assert (step["terminated"], step["truncated"], step["held"]) == (True, False, -1)
    assert env.session.tolist() == [0]


def test_ruin_is_a_loss_even_for_who_had_next_to_nothing(make_window: MakeWindow, free_shorts: MakeShorts) -> None:
    # 1,000 sold short at 10 is worth 2,000 - 1,999.99 = 0.01 at 19.9999, less than a ten-thousandth of the start
    window = make_window("next_close", positions="long_short", A=[10, 10, 19.9999, 30])
    env = TradingVectorEnv(window, free_shorts())
    steps = _play(env, [SELL, HOLD, HOLD])
    assert steps[1]["equity"] == pytest.approx(0.01)
    assert steps[2]["terminated"]
    assert steps[2]["reward"] == pytest.approx(math.log(1e-4))


def test_short_under_water_at_the_open_may_recover_by_the_close(
    make_window: MakeWindow, free_shorts: MakeShorts
) -> None:
    window = make_window("next_open", positions="long_short", A=([10, 10, 25, 10], [10, 10, 15, 10]))
    env = TradingVectorEnv(window, free_shorts())
    assert _column(_play(env, [SELL, HOLD]), "equity") == [1_000.0, 500.0]


def test_short_bought_back_under_water_is_ruined(make_window: MakeWindow, free_shorts: MakeShorts) -> None:
    window = make_window("next_open", positions="long_short", A=([10, 10, 25, 10], [10, 10, 15, 10]))
    env = TradingVectorEnv(window, free_shorts())
    step = _play(env, [SELL, BUY])[1]
    assert (step["terminated"], step["traded"]) == (True, 2_500.0)
    assert step["held"] == -1  # covered, with nothing left to go long with


def test_single_environment_terminates_on_ruin(make_window: MakeWindow, free_shorts: MakeShorts) -> None:
    env = TradingEnv(make_window("same_close", positions="long_short", A=[10, 25, 25]), free_shorts())
    env.reset()
    observation, reward, terminated, truncated, info = env.step(SELL)
    assert (terminated, truncated) == (True, False)
    assert reward == pytest.approx(math.log(1e-4))
    assert info == {"traded_value": 1_000.0, "equity": 0.1, "position": -1.0, "exposure": 1.0}
    assert observation["prompt"].endswith("market 1\nNews: none\nAccount: flat. Decision:")
    with pytest.raises(ValueError, match="the episode has ended"):
        env.step(HOLD)


def test_ruin_of_one_account_leaves_its_neighbours_alone(make_window: MakeWindow, free_shorts: MakeShorts) -> None:
    window = make_window("next_close", positions="long_short", A=[10, 10, 25, 50])
    env = TradingVectorEnv(window, free_shorts(), accounts_per_symbol=3)
    env.step(np.array([BUY, SELL, HOLD]))
    *_, terminated, _, info = env.step(np.array([HOLD, HOLD, HOLD]))
    assert terminated.tolist() == [False, True, False]
    assert info["equity"].tolist() == [2_500.0, 0.1, 1_000.0]
    *_, info = env.step(np.array([HOLD, BUY, HOLD]))
    assert info["equity"].tolist() == [5_000.0, 1_000.0, 1_000.0]
    assert info["position"].tolist() == [1, 0, 0]
