"""Gymnasium's own checks, in every configuration."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.utils import env_checker, passive_env_checker
from gymnasium.vector import VectorWrapper
from gymnasium.wrappers.vector import NormalizeReward, RecordEpisodeStatistics

from flag_kedro.env.config import EnvConfig
from flag_kedro.env.trading import TradingEnv, TradingVectorEnv
from flag_kedro.env.window import TradingWindow

MakeWindow = Callable[..., TradingWindow]
MakeConfig = Callable[..., EnvConfig]

CONFIGURATIONS = [
    dict(zip(("fill", "positions", "reward", "account_view"), values, strict=True))
    for values in itertools.product(
        ("next_open", "next_close", "same_close"),
        ("long_flat", "long_short"),
        ("log_return", "sharpe_increment", "differential_sharpe"),
        ("position", "compact", "paper"),
    )
]
LONG = ([7, 8, 10, 12, 16, 20], [10, 9, 12, 11, 15, 25], [None, 60, 90, 0, 80, 100])
SHORT = ([7, 8, 10, 30], [10, 9, 30, 11], [None, 60, 90, 0])
"""Its price more than trebles, which ruins whoever is short."""

everywhere = pytest.mark.parametrize("fields", CONFIGURATIONS, ids=lambda fields: "-".join(fields.values()))


class _OneFlag(VectorWrapper[Any, Any, Any, Any]):
    """A vector environment whose flags are single booleans, which is what Gymnasium's checker asks about."""

    def step(self, actions: Any) -> Any:
        observed, rewards, terminated, truncated, info = self.env.step(actions)
        return observed, rewards, bool(terminated.any()), bool(truncated.any()), info


@pytest.fixture
def make_vector(make_window: MakeWindow, make_config: MakeConfig) -> Callable[..., TradingVectorEnv]:
    def make(fields: dict[str, Any], **more: Any) -> TradingVectorEnv:
        config = make_config(**fields, **more)
        window = make_window(config.fill, positions=config.positions, A=LONG, B=SHORT)
        return TradingVectorEnv(window, config, accounts_per_symbol=3)

    return make


@pytest.mark.filterwarnings("error::UserWarning")
@everywhere
def test_single_environment_passes_gymnasiums_checker(
    fields: dict[str, Any], make_window: MakeWindow, make_config: MakeConfig
) -> None:
    config = make_config(**fields, cash_rate=0.05, max_participation=0.5)
    window = make_window(config.fill, positions=config.positions, A=LONG)
    env_checker.check_env(TradingEnv(window, config), skip_render_check=True)


@everywhere
def test_single_environments_space_contains_every_observation(
    fields: dict[str, Any], make_window: MakeWindow, make_config: MakeConfig
) -> None:
    config = make_config(**fields)
    symbol = tuple(prices * 4 for prices in SHORT)
    env = TradingEnv(make_window(config.fill, positions=config.positions, A=symbol), config)
    env.action_space.seed(0)
    for _ in range(5):
        (observation, _), ended = env.reset(), False
        while not ended:
            assert env.observation_space.contains(observation)
            observation, reward, terminated, truncated, info = env.step(int(env.action_space.sample()))
            ended = terminated or truncated
            assert np.isfinite([reward, *info.values()]).all()
        assert env.observation_space.contains(observation)


@pytest.mark.filterwarnings("ignore:.*Casting input x to numpy array")  # a Box of shape () and numpy's scalars
@everywhere
def test_vector_environment_passes_the_checks_that_vectors_can(
    fields: dict[str, Any], make_vector: Callable[..., TradingVectorEnv]
) -> None:
    env = make_vector(fields)
    checked: Any = _OneFlag(env)
    for space, check in (
        (env.single_action_space, passive_env_checker.check_action_space),
        (env.single_observation_space, passive_env_checker.check_observation_space),
        (env.observation_space, passive_env_checker.check_observation_space),
    ):
        check(space)
    env_checker.check_space_limit(env.single_action_space, "action")
    env_checker.check_seed_deprecation(checked)
    env_checker.check_reset_return_info_deprecation(checked)
    env_checker.check_reset_return_type(checked)
    env_checker.check_reset_seed_determinism(checked)
    env_checker.check_reset_options(checked)
    passive_env_checker.env_reset_passive_checker(checked)
    env_checker.check_step_determinism(checked)
    env_checker.check_returned_data_not_reused(checked)


@pytest.mark.filterwarnings("ignore:.*Casting input x to numpy array")
@everywhere
def test_vector_environments_spaces_contain_what_it_gives_over_many_episodes(
    fields: dict[str, Any], make_vector: Callable[..., TradingVectorEnv]
) -> None:
    env = make_vector(fields, cash_rate=0.05, max_participation=0.5, max_episode_steps=4)
    observation, _ = env.reset(seed=0)
    for _ in range(15):
        assert env.observation_space.contains(observation)
        actions = env.action_space.sample()
        assert env.action_space.contains(actions)
        observation, rewards, terminated, truncated, info = env.step(actions)
        assert (rewards.dtype, terminated.dtype, truncated.dtype) == (np.float64, np.bool_, np.bool_)
        assert np.isfinite(rewards).all()
        assert not (terminated & truncated).any()
        reached = info.get("final_obs", np.full(env.num_envs, None))
        assert [obs is not None for obs in reached] == (terminated | truncated).tolist()
        assert all(env.single_observation_space.contains(obs) for obs in reached if obs is not None)


@pytest.mark.filterwarnings("ignore:.*Casting input x to numpy array")
@everywhere
def test_vector_wrappers_see_every_episode(
    fields: dict[str, Any], make_vector: Callable[..., TradingVectorEnv]
) -> None:
    env = make_vector(fields)
    wrapped = NormalizeReward(RecordEpisodeStatistics(env))
    wrapped.reset(seed=1)
    lengths, returns, steps, totals = [], [], np.zeros(6), np.zeros(6)
    other = make_vector(fields)
    for _ in range(11):
        actions = env.action_space.sample()
        _, plain, ended, cut, _ = other.step(actions)
        steps += 1
        totals += plain
        done = ended | cut
        lengths += steps[done].tolist()
        returns += totals[done].tolist()
        steps[done], totals[done] = 0.0, 0.0
        assert np.isfinite(wrapped.step(actions)[1]).all()
    statistics = wrapped.env
    assert list(statistics.length_queue) == lengths
    assert list(statistics.return_queue) == pytest.approx(returns, rel=1e-6, abs=1e-6)


def test_seed_of_a_reset_is_the_environments_own(make_vector: Callable[..., TradingVectorEnv]) -> None:
    env = make_vector(CONFIGURATIONS[0])
    env.reset(seed=7)
    assert env.np_random_seed == 7


def test_changing_what_a_step_gave_does_not_change_the_environment(
    make_vector: Callable[..., TradingVectorEnv],
) -> None:
    spoilt, other = make_vector(CONFIGURATIONS[0]), make_vector(CONFIGURATIONS[0])
    spoilt.reset(seed=0)
    for _ in range(12):
        actions = spoilt.action_space.sample()
        observation, rewards, terminated, truncated, info = spoilt.step(actions)
        for values in (*observation.values(), info["equity"], info["position"], info["traded_value"]):
            values[:] = 1
        expected = other.step(actions)
        assert rewards.tolist() == expected[1].tolist()
        for values in (rewards, terminated, truncated):
            values[:] = 1
