"""Two prompts take turns, one before a rise and one before a fall: best policies and their values are known exactly.

Without costs these are two states. With costs it matters too whether an account is flat or long, which makes four;
`values_of` solves Bellman's equation for any policy on them.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from accelerate import Accelerator
from tabular import Floats, TabularPolicy

from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.trainer import train

RISE, FALL = 0.03, 0.0145
NUM_SESSIONS = 41
CLOSE = 0.02
"""Relative distance to the best value that is allowed to the policy and to the critic's V."""
FLAT_BEFORE_RISE, LONG_BEFORE_RISE, FLAT_BEFORE_FALL, LONG_BEFORE_FALL = range(4)
VISITED = [FLAT_BEFORE_RISE, LONG_BEFORE_FALL]
"""States that every best policy meets, whether it sells before a fall or not."""
PPO = PPOConfig(
    total_timesteps=30 * 16 * 20, num_envs=16, num_steps=20, minibatch_size=80, update_epochs=4, gae_lambda=0.9,
    learning_rate=0.15, ent_coef=0.001, kl_coef=0.0, clip_vloss=False, reward_scale=10.0, max_grad_norm=10.0,
    gradient_accumulation_steps=1, gamma=0.95, stagger_starts=False, validation_interval=10,
)  # fmt: skip
REINFORCE = replace(
    PPO, algorithm="reinforce", gae_lambda=1.0, update_epochs=1, minibatch_size=None, total_timesteps=100 * 16 * 20
)


@pytest.fixture
def turns(make_window: Callable[..., TradingWindow]) -> TradingWindow:
    """A rise after `up`, a fall after `down`, from the fill at the open (the close before) to the close."""
    steps = [0.0] + [RISE if t % 2 == 0 else -FALL for t in range(NUM_SESSIONS - 1)]
    closes = [100 * float(np.exp(sum(steps[: t + 1]))) for t in range(NUM_SESSIONS)]
    window = make_window("next_open", ALDR=([closes[0], *closes[:-1]], closes))
    return replace(window, prefixes=(tuple("down" if t % 2 else "up" for t in range(NUM_SESSIONS)),))


def prompt_alone(prefix: str, account: str) -> int:
    return int(prefix == "down")


def prompt_and_position(prefix: str, account: str) -> int:
    return 2 * (prefix == "down") + (not account.startswith(" flat"))


def costs_of(env: EnvConfig) -> tuple[float, float]:
    """Log returns that a purchase and a sale cost: shares = cash / (price (1 + cost)), proceeds x (1 - cost)."""
    return float(np.log1p(env.cost)), float(-np.log1p(-env.cost))


def values_of(leave: Floats, gamma: float, env: EnvConfig) -> Floats:
    """V of the policy that changes its position with probability `leave` [4]: (I - gamma P)^-1 r, [4]."""
    buy, sell = costs_of(env)
    earned = np.array([RISE - buy, -sell, -FALL - buy, -sell])  # who trades; who is flat then earns no move
    holding = np.array([0.0, RISE, 0.0, -FALL])
    chance = np.zeros((4, 4))
    for state in range(4):
        other_prompt, position = 2 * (state < 2), state % 2
        chance[state, other_prompt + 1 - position] = leave[state]
        chance[state, other_prompt + position] = 1 - leave[state]
    return np.linalg.solve(np.eye(4) - gamma * chance, leave * earned + (1 - leave) * holding)


def best_values(gamma: float, env: EnvConfig) -> Floats:
    """The highest V of all sixteen policies, state by state, [4]."""
    policies = [np.array([code >> bit & 1 for bit in range(4)], dtype=float) for code in range(16)]
    return np.max([values_of(leave, gamma, env) for leave in policies], axis=0)


def learn(
    window: TradingWindow, env: EnvConfig, config: PPOConfig, row_of: Callable[[str, str], int]
) -> tuple[Floats, Floats]:
    """Chances to change the position, and the critic's V in units of the reward, after the training; both [4]."""
    model = TabularPolicy(4, row_of)
    for _ in train(model, window, None, env, config, 0, Accelerator(cpu=True)):
        pass
    rows = [row_of(prompt, account) for prompt in ("up", "down") for account in (" flat", " long")]
    weights = model.weights()
    logits = (weights["policy"] + weights["bias"])[rows]
    trade = logits[np.arange(4), [2, 0, 2, 0]]  # buy where flat, sell where long
    return 1 / (1 + np.exp(logits[:, 1] - trade)), weights["value"][rows, 0] / config.reward_scale


def test_values_of_the_toy_are_those_worked_by_hand():
    free, dear = EnvConfig(cost_bps=0, slippage_bps=0), EnvConfig(cost_bps=100, slippage_bps=0)
    # free: V(up) = 0.03 + 0.9 V(down), V(down) = 0.9 V(up)
    up = 0.03 / (1 - 0.81)
    assert best_values(0.9, free) == pytest.approx([up, up, 0.9 * up, 0.9 * up])
    # dear: a sale before the fall and the purchase after it cost 0.01005 + 0.9 x 0.00995 = 0.0190 > 0.0145
    held = (0.03 - 0.9 * 0.0145) / (1 - 0.81)
    assert best_values(0.9, dear)[[0, 1]] == pytest.approx([held - np.log(1.01), held])
    # who does not look ahead saves 0.0145 - 0.01005 by the sale
    assert best_values(0.0, dear) == pytest.approx([0.03 - np.log(1.01), 0.03, 0.0, np.log(0.99)])


@pytest.mark.parametrize("config", [PPO, REINFORCE], ids=["ppo", "reinforce"])
def test_two_states_are_learned_to_the_optimum(turns: TradingWindow, config: PPOConfig):
    """Without costs the position has no say in what is best, so the prompt alone is the state."""
    env = EnvConfig(cost_bps=0, slippage_bps=0)
    leave, critic = learn(turns, env, replace(config, gamma=0.9), prompt_alone)
    best = best_values(0.9, env)
    assert values_of(leave, 0.9, env)[VISITED] == pytest.approx(best[VISITED], rel=CLOSE)
    assert critic == pytest.approx(best, rel=CLOSE)


@pytest.mark.parametrize("config", [PPO, REINFORCE], ids=["ppo", "reinforce"])
@pytest.mark.parametrize(("gamma", "sells"), [(0.9, False), (0.0, True)], ids=["far", "near"])
def test_gamma_decides_whether_a_fall_is_sat_out(turns: TradingWindow, config: PPOConfig, gamma: float, sells: bool):
    env = EnvConfig(cost_bps=100, slippage_bps=0)
    leave, critic = learn(turns, env, replace(config, gamma=gamma), prompt_and_position)
    best = best_values(gamma, env)
    assert leave[FLAT_BEFORE_RISE] > 0.95
    assert leave[LONG_BEFORE_FALL] > 0.9 if sells else leave[LONG_BEFORE_FALL] < 0.1
    reached = values_of(leave, gamma, env)[VISITED]
    assert reached == pytest.approx(best[VISITED], rel=CLOSE)
    assert critic[VISITED] == pytest.approx(best[VISITED], rel=CLOSE)
