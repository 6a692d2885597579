"""The registered environment, and the agents of other libraries that learn in it."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv
from sb3_contrib import MaskablePPO

import flag_kedro
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.env.account import BUY, HOLD, SELL

SHORT = SimulatedConfig(first_session="2022-01-03", last_session="2022-12-30")
NUM_STEPS = 64


def make(**options: Any) -> gym.Env[Any, Any]:
    return gym.make(flag_kedro.ENV_ID, simulated=SHORT, **options)


@pytest.mark.parametrize("options", [{}, {"observation": "prompt"}, {"span": "test", "symbol": "BRIX", "seed": 3}])
def test_environment_keeps_gymnasiums_contract(options: dict[str, Any]) -> None:
    check_env(make(**options).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("observation", ["indicators", "prompt"])
def test_masks_are_those_of_the_position_and_illegal_actions_hold_or_are_refused(observation: str) -> None:
    lenient, strict = (make(observation=observation, illegal=illegal) for illegal in ("hold", "refuse"))
    for env in (lenient, strict):
        env.reset(seed=0)
        assert env.get_wrapper_attr("action_masks")().tolist() == [False, True, True]
        env.step(BUY)
        assert env.get_wrapper_attr("action_masks")().tolist() == [True, True, False]
    held = make(observation=observation)
    held.reset(seed=0)
    held.step(BUY)
    assert lenient.step(BUY)[1:3] == held.step(HOLD)[1:3]
    with pytest.raises(ValueError, match="masked"):
        strict.step(BUY)


def test_indicators_of_later_windows_are_standardised_on_the_training_window() -> None:
    """The training window's have mean 0 and deviation 1, up to clipping; another window's need not."""
    of_train, of_test = (make(span=span, illegal="hold").unwrapped for span in ("train", "test"))
    train, test = of_train._indicators, of_test._indicators  # type: ignore[attr-defined]
    np.testing.assert_allclose(train.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(train.std(axis=0), 1.0, atol=1e-9)
    assert np.abs(test.mean(axis=0)).max() > 0.05


def test_gymnasiums_vector_environment_steps_with_actions_drawn_blindly() -> None:
    envs = SyncVectorEnv([lambda: make(), lambda: make(symbol="BRIX")])
    envs.reset(seed=0)
    envs.action_space.seed(0)
    for _ in range(20):
        observations, rewards, *_ = envs.step(envs.action_space.sample())
    assert np.isfinite(observations).all()
    assert np.isfinite(rewards).all()


@pytest.mark.parametrize("name", ["PPO", "A2C"])
def test_stable_baselines_learns_in_it(name: str) -> None:
    learner = getattr(stable_baselines3, name)("MlpPolicy", make(), n_steps=NUM_STEPS, seed=0, device="cpu")
    before = [weight.clone() for weight in learner.policy.parameters()]
    learner.learn(NUM_STEPS)
    assert any((old != new).any() for old, new in zip(before, learner.policy.parameters(), strict=True))


def test_maskable_ppo_learns_in_it_without_ever_asking_for_what_is_masked() -> None:
    """`refuse` raises on a masked action."""
    learner = MaskablePPO("MlpPolicy", make(illegal="refuse"), n_steps=NUM_STEPS, seed=0, device="cpu")
    learner.learn(NUM_STEPS)
    env = make(illegal="refuse")
    observation, _ = env.reset()
    action, _ = learner.predict(observation, action_masks=env.get_wrapper_attr("action_masks")())
    assert action != SELL
