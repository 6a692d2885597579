"""Where episodes begin and end, and what is handed over there."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flag_kedro.env.account import BUY, HOLD, SELL
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.trading import TradingEnv, TradingVectorEnv
from flag_kedro.env.window import TradingWindow

OPENS, CLOSES = [7, 8, 10, 12, 16, 20], [10, 9, 12, 11, 15, 25]
MARKS = [10, 8, 9, 12, 16, 20]
ACTIONS = [BUY, HOLD, SELL, BUY, HOLD]

MakeWindow = Callable[..., TradingWindow]
MakeConfig = Callable[..., EnvConfig]


def _rewards(env: TradingVectorEnv, num_steps: int, seed: int) -> list[list[float]]:
    """Rewards of so many steps with random legal actions."""
    env.action_space.seed(seed)
    return [env.step(env.action_space.sample())[1].tolist() for _ in range(num_steps)]


@pytest.mark.parametrize("num_sessions", [2, 3, 6])
def test_window_of_n_sessions_gives_n_minus_1_rewards_and_truncates_at_the_last(
    num_sessions: int, make_window: MakeWindow, make_config: MakeConfig
) -> None:
    env = TradingVectorEnv(make_window("next_close", A=MARKS[:num_sessions]), make_config())
    steps = [env.step(np.array([HOLD])) for _ in range(num_sessions - 1)]
    assert [bool(truncated[0]) for *_, truncated, _ in steps] == [False] * (num_sessions - 2) + [True]
    assert not any(terminated.any() for _, _, terminated, _, _ in steps)


def test_reset_puts_every_account_back_to_the_first_session_flat(
    make_window: MakeWindow, make_config: MakeConfig
) -> None:
    env = TradingVectorEnv(make_window("next_close", A=MARKS, B=MARKS[:4]), make_config(account_view="paper"))
    first, info = env.reset()
    fresh = env.states()
    env.step(np.array([BUY, HOLD]))
    env.step(np.array([HOLD, BUY]))
    for _ in range(2):  # the second reset finds nothing to do
        again, _ = env.reset()
        assert {name: values.tolist() for name, values in again.items()} == {
            name: values.tolist() for name, values in first.items()
        }
        assert list(env.states().account) == list(fresh.account)
        assert list(env.states().prefix) == list(fresh.prefix)
    assert first["position"].tolist() == [0, 0]
    assert first["session"].tolist() == [0, 0]
    assert info == {}


@pytest.mark.parametrize("reward", ["log_return", "sharpe_increment"])
def test_episode_after_a_reset_repeats_the_first(reward: str, make_window: MakeWindow, make_config: MakeConfig) -> None:
    env = TradingVectorEnv(make_window("next_open", A=(OPENS, CLOSES)), make_config(reward=reward))
    runs = []
    for num_steps in (3, 5, 5):
        env.reset()
        runs.append(_rewards(env, num_steps, seed=7))
    assert runs[0] == runs[1][:3]
    assert runs[1] == runs[2]


def test_start_option_chooses_each_symbols_first_session(make_window: MakeWindow, make_config: MakeConfig) -> None:
    env = TradingVectorEnv(make_window("next_close", A=MARKS, B=MARKS[:3]), make_config(), accounts_per_symbol=2)
    observation, _ = env.reset(options={"start": [4, 1]})
    assert observation["session"].tolist() == [4, 4, 1, 1]
    assert env.states().prefix[0].endswith("Market: market 4\nNews: \n- news 4\nAccount:")
    *_, truncated, _ = env.step(np.full(4, HOLD))
    assert truncated.tolist() == [True] * 4
    assert env.session.tolist() == [0] * 4  # the next episode has the whole window


@pytest.mark.parametrize("start", [[5, 0], [0, 2], [-1, 0]])
def test_start_that_leaves_no_step_is_refused(
    start: list[int], make_window: MakeWindow, make_config: MakeConfig
) -> None:
    env = TradingVectorEnv(make_window("next_close", A=MARKS, B=MARKS[:3]), make_config())
    with pytest.raises(ValueError, match="start must leave each symbol at least one step"):
        env.reset(options={"start": start})


@pytest.mark.parametrize("start", [0, [0], [0, 0, 0]])
def test_start_of_another_number_of_symbols_is_refused(
    start: Any, make_window: MakeWindow, make_config: MakeConfig
) -> None:
    env = TradingVectorEnv(make_window("next_close", A=MARKS, B=MARKS[:3]), make_config())
    with pytest.raises(ValueError, match="one session index for each of 2 symbols"):
        env.reset(options={"start": start})


def test_reset_without_a_start_among_its_options_begins_at_the_window(
    make_window: MakeWindow, make_config: MakeConfig
) -> None:
    observation, _ = TradingVectorEnv(make_window("next_close", A=MARKS), make_config()).reset(options={})
    assert observation["session"].tolist() == [0]


def test_max_episode_steps_cuts_the_window_into_episodes_that_go_on_where_they_stood(
    make_window: MakeWindow, make_config: MakeConfig
) -> None:
    env = TradingVectorEnv(make_window("next_close", A=MARKS), make_config(max_episode_steps=2))
    sessions, truncations = [], []
    for _ in range(7):
        observation, _, _, truncated, _ = env.step(np.array([HOLD]))
        sessions.append(int(observation["session"][0]))
        truncations.append(bool(truncated[0]))
    # sessions 0-2, 2-4, 4-5 (the window ends), 0-2
    assert sessions == [1, 2, 3, 4, 0, 1, 2]
    assert truncations == [False, True, False, True, True, False, True]


def test_max_episode_steps_counts_each_symbols_episode_for_itself(
    make_window: MakeWindow, make_config: MakeConfig
) -> None:
    env = TradingVectorEnv(make_window("next_close", A=MARKS, B=MARKS[:4]), make_config(max_episode_steps=2))
    steps = [env.step(np.array([HOLD, HOLD])) for _ in range(5)]
    # A: sessions 0-2, 2-4, 4-5; B: 0-2, 2-3 (its window ends), 0-2
    assert [truncated.tolist() for *_, truncated, _ in steps] == [
        [False, False],
        [True, True],
        [False, True],
        [True, False],
        [True, True],
    ]


def test_account_cut_by_max_episode_steps_restarts_flat_with_its_initial_cash(
    make_window: MakeWindow, make_config: MakeConfig
) -> None:
    env = TradingVectorEnv(make_window("next_close", A=MARKS), make_config(max_episode_steps=1))
    _, _, _, _, info = env.step(np.array([BUY]))
    assert info["equity"].tolist() == [800.0]
    assert env.equity().tolist() == [1_000.0]
    assert env.accounts.action_mask().tolist() == [[False, True, True]]


def test_final_states_are_those_before_the_reset_and_states_those_after(
    make_window: MakeWindow, make_config: MakeConfig
) -> None:
    env = TradingVectorEnv(make_window("next_close", A=MARKS, B=MARKS[:3]), make_config())
    env.step(np.array([HOLD, BUY]))
    _, _, _, truncated, info = env.step(np.array([BUY, HOLD]))
    assert truncated.tolist() == [False, True]
    reached, due = info["final_states"], env.states()
    # B bought at 8 two sessions ago and stands at 9: + 12.5 %
    assert [text.split("Market: ")[1][:8] for text in reached.prefix] == ["market 2", "market 2"]
    assert list(reached.account) == [
        " long one day small gain. Decision:",
        " long two days big gain. Decision:",
    ]
    assert reached.action_mask.tolist() == [[True, True, False], [True, True, False]]
    # A goes on, B is back at its first session
    assert [text.split("Market: ")[1][:8] for text in due.prefix] == ["market 2", "market 0"]
    assert list(due.account) == [" long one day small gain. Decision:", " flat. Decision:"]
    assert due.action_mask.tolist() == [[True, True, False], [False, True, True]]


def test_final_obs_holds_what_each_ended_account_reached_and_none_for_the_others(
    make_window: MakeWindow, make_config: MakeConfig
) -> None:
    env = TradingVectorEnv(make_window("next_close", A=MARKS, B=MARKS[:3]), make_config())
    env.step(np.array([HOLD, BUY]))
    observation, *_, info = env.step(np.array([HOLD, HOLD]))
    assert info["_final_obs"].tolist() == [False, True]
    assert info["final_obs"][0] is None
    reached = info["final_obs"][1]
    assert {name: np.asarray(value).tolist() for name, value in reached.items()} == {
        "symbol": 1,
        "session": 2,
        "position": 1,
        "sessions_held": 2,
        "unrealised_return": 0.125,
        "action_mask": [1, 1, 0],
    }
    assert observation["session"].tolist() == [2, 0]
    assert observation["position"].tolist() == [0, 0]


def test_nothing_final_is_reported_while_nothing_ends(make_window: MakeWindow, make_config: MakeConfig) -> None:
    env = TradingVectorEnv(make_window("next_close", A=MARKS), make_config())
    *_, info = env.step(np.array([BUY]))
    assert sorted(info) == ["equity", "exposure", "position", "traded_value"]


def test_sharpe_of_an_episode_does_not_see_the_one_before(make_window: MakeWindow, make_config: MakeConfig) -> None:
    env = TradingVectorEnv(make_window("next_open", A=(OPENS, CLOSES)), make_config(reward="sharpe_increment"))
    first = [env.step(np.array([action]))[1][0] for action in ACTIONS]
    second = [env.step(np.array([action]))[1][0] for action in ACTIONS]
    assert first == second


def test_single_environment_refuses_to_step_after_its_end(make_window: MakeWindow, make_config: MakeConfig) -> None:
    env = TradingEnv(make_window("next_close", A=MARKS[:2]), make_config())
    with pytest.raises(ValueError, match="call reset"):
        env.step(HOLD)
    env.reset()
    *_, truncated, _ = env.step(HOLD)
    assert truncated
    with pytest.raises(ValueError, match="the episode has ended; call reset"):
        env.step(HOLD)


def test_single_environment_ends_in_the_state_it_reached(make_window: MakeWindow, make_config: MakeConfig) -> None:
    env = TradingEnv(make_window("next_close", A=MARKS[:3]), make_config())
    env.reset()
    env.step(BUY)
    observation, *_, info = env.step(HOLD)
    assert observation["prompt"].endswith(
        "Market: market 2\nNews: \n- news 2\nAccount: long two days big gain. Decision:"
    )
    assert observation["action_mask"].tolist() == [1, 1, 0]
    assert info == {"traded_value": 0.0, "equity": 900.0, "position": 1.0, "exposure": 1.0}
