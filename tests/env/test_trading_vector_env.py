"""The MDP on markets small enough to work by hand.

With a cost of 25 % and 1,000 in cash, `next_open` (prices of OPENS and CLOSES below):

    session  open  close  filled  cash  shares  equity   PnL  held over the return
       0       -     10      -    1000     0     1000      -    -
       1       8      9     buy      0   100      900   -100    1   1000 / (8 x 1.25) = 100
       2      10     12    hold      0   100     1200    300    1
       3      12     11    sell    900     0      900   -300    1   100 x 12 x 0.75 = 900, held overnight
       4      16     15     buy      0    45      675   -225    1   900 / (16 x 1.25) = 45
       5      20     25    hold      0    45     1125    450    1

and `next_close` (prices of MARKS), where a fill changes what is held from the next return on:

    session  close  filled  cash  shares  equity   PnL  held over the return
       0       10      -    1000     0     1000      -    -
       1        8     buy      0   100      800   -200    0   pays 200 of cost, no exposure yet
       2        9    hold      0   100      900    100    1
       3       12    sell    900     0      900      0    1   100 x 12 x 0.75 = 900
       4       16     buy      0    45      720   -180    0   900 / (16 x 1.25) = 45
       5       20    hold      0    45      900    180    1

Sharpe ratios of the PnLs so far, mean / std (ddof 1), signed squares as fractions:

    next_open   -100, 300: mean 100, variance 80,000, squared 1/8
                -300: mean -100/3, variance (190,000 - 10,000/3) / 2 = 280,000/3, squared -1/84
                -225: mean -325/4, variance (240,625 - 105,625/4) / 3 = 71,406.25, squared -169/1828
                 450: mean 25, variance (443,125 - 3,125) / 4 = 110,000, squared 1/176
    next_close  -200, 100: mean -50, variance 45,000, squared -1/18
                   0: mean -100/3, variance (50,000 - 10,000/3) / 2 = 70,000/3, squared -1/21
                -180: mean -70, variance (82,400 - 19,600) / 3 = 62,800/3, squared -147/628
                 180: mean -20, variance (114,800 - 2,000) / 4 = 28,200, squared -2/141
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import (
    NormalizeReward,
    RecordEpisodeStatistics,
    TransformReward,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from flag_kedro.env.config import EnvConfig
from flag_kedro.env.trading import TradingEnv, TradingVectorEnv
from flag_kedro.env.window import TradingWindow

SELL, HOLD, BUY = 0, 1, 2
OPENS, CLOSES = [7, 8, 10, 12, 16, 20], [10, 9, 12, 11, 15, 25]
MARKS = [10, 8, 9, 12, 16, 20]
ACTIONS = [BUY, HOLD, SELL, BUY, HOLD]

MakeWindow = Callable[..., TradingWindow]
MakeConfig = Callable[..., EnvConfig]


def _signed_root(square: float) -> float:
    return math.copysign(math.sqrt(abs(square)), square)


@dataclass(frozen=True)
class Example:
    """The tables above, one value a step."""

    fill: str
    cash: list[float]
    shares: list[float]
    equity: list[float]
    position: list[int]
    traded: list[float]
    ratios: list[float]

    def rewards(self, kind: str) -> list[float]:
        if kind == "log_return":
            return [math.log(after / before) for before, after in pairwise([1_000.0, *self.equity])]
        return [after - before for before, after in pairwise([0.0, *self.ratios])]


AT_OPEN = Example(
    fill="next_open",
    cash=[0, 0, 900, 0, 0],
    shares=[100, 100, 0, 45, 45],
    equity=[900, 1200, 900, 675, 1125],
    position=[1, 1, 1, 1, 1],
    traded=[800, 0, 1200, 720, 0],
    ratios=[0.0, *map(_signed_root, (1 / 8, -1 / 84, -169 / 1828, 1 / 176))],
)
AT_CLOSE = Example(
    fill="next_close",
    cash=[0, 0, 900, 0, 0],
    shares=[100, 100, 0, 45, 45],
    equity=[800, 900, 900, 720, 900],
    position=[0, 1, 1, 0, 1],
    traded=[800, 0, 1200, 720, 0],
    ratios=[0.0, *map(_signed_root, (-1 / 18, -1 / 21, -147 / 628, -2 / 141))],
)


@pytest.fixture(scope="session")
def example_window(make_window: MakeWindow) -> Callable[[str], TradingWindow]:
    def make(fill: str) -> TradingWindow:
        return make_window(fill, A=(OPENS, CLOSES) if fill == "next_open" else MARKS)

    return make


def _legal(rng: np.random.Generator, env: TradingVectorEnv) -> np.ndarray:
    scores = rng.random((env.num_envs, 3))
    return np.argmax(np.where(env.accounts.action_mask(), scores, -1.0), axis=1)


def _play(env: TradingVectorEnv, num_steps: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray, dict[str, Any]]]:
    """Rewards, truncations and info of so many steps with random legal actions."""
    rng = np.random.default_rng(seed)
    for _ in range(num_steps):
        _, rewards, _, truncated, info = env.step(_legal(rng, env))
        yield rewards, truncated, info


@st.composite
def _markets(draw: st.DrawFn) -> dict[str, tuple[list[int], list[int]]]:
    """Opens and closes of one to four symbols with 2 to 9 sessions each."""
    prices = st.integers(20, 200)
    market = {}
    for name in "ABCD"[: draw(st.integers(1, 4))]:
        num_sessions = draw(st.integers(2, 9))
        sessions = st.lists(prices, min_size=num_sessions, max_size=num_sessions)
        market[name] = (draw(sessions), draw(sessions))
    return market


FILLS = st.sampled_from(["next_open", "next_close"])
SEEDS = st.integers(0, 2**32 - 1)


# The examples worked by hand


@pytest.mark.parametrize("reward", ["log_return", "sharpe_increment"])
@pytest.mark.parametrize("example", [AT_OPEN, AT_CLOSE], ids=lambda example: example.fill)
def test_six_sessions_go_as_worked_by_hand(
    example: Example, reward: str, example_window: Callable[[str], TradingWindow], make_config: MakeConfig
) -> None:
    env = TradingVectorEnv(example_window(example.fill), make_config(reward=reward))
    expected_rewards = example.rewards(reward)
    env.reset()
    for t, action in enumerate(ACTIONS):
        _, rewards, _, _, info = env.step(np.array([action]))
        assert info["equity"][0] == pytest.approx(example.equity[t], rel=1e-14)
        assert info["traded_value"][0] == pytest.approx(example.traded[t], rel=1e-14)
        assert info["position"].tolist() == [example.position[t]]
        assert rewards[0] == pytest.approx(expected_rewards[t], rel=1e-12, abs=1e-14)
        if t < len(ACTIONS) - 1:  # the last step restarts the account
            assert env.accounts.cash[0] == pytest.approx(example.cash[t], rel=1e-14)
            assert env.accounts.shares[0] == pytest.approx(example.shares[t], rel=1e-14)


def test_purchase_at_the_next_close_shows_as_its_cost_and_one_step_later_as_exposure(
    make_window: MakeWindow, make_config: MakeConfig
) -> None:
    env = TradingVectorEnv(make_window("next_close", A=[10, 50, 100]), make_config())
    _, at_purchase, _, _, first = env.step(np.array([BUY]))
    _, later, _, _, second = env.step(np.array([HOLD]))
    assert at_purchase[0] == pytest.approx(math.log(0.8))  # 1 / 1.25; the rise from 10 to 50 was missed
    assert later[0] == pytest.approx(math.log(2.0))  # 50 to 100
    assert [first["position"][0], second["position"][0]] == [0, 1]


def test_purchase_at_the_next_open_earns_the_same_session(make_window: MakeWindow, make_config: MakeConfig) -> None:
    env = TradingVectorEnv(make_window("next_open", A=([1, 20, 1], [10, 50, 100])), make_config())
    _, rewards, _, _, info = env.step(np.array([BUY]))
    assert rewards[0] == pytest.approx(math.log(2.0))  # 50 / 20 / 1.25
    assert info["position"].tolist() == [1]


def test_last_decision_filled_at_the_last_close_earns_nothing_but_its_cost(
    make_window: MakeWindow, make_config: MakeConfig
) -> None:
    env = TradingVectorEnv(make_window("next_close", A=[10, 10, 40]), make_config())
    env.step(np.array([HOLD]))
    _, rewards, _, truncated, _ = env.step(np.array([BUY]))
    assert truncated.tolist() == [True]
    assert rewards[0] == pytest.approx(math.log(0.8))


def test_flat_account_earns_nothing(example_window: Callable[[str], TradingWindow], make_config: MakeConfig) -> None:
    env = TradingVectorEnv(example_window("next_open"), make_config())
    assert [env.step(np.array([HOLD]))[1][0] for _ in range(5)] == [0.0] * 5


# Properties of rewards


@settings(deadline=None)
@given(market=_markets(), fill=FILLS, seed=SEEDS)
def test_sharpe_rewards_add_up_to_mean_over_std_of_the_pnls_so_far(
    market: dict[str, Any], fill: str, seed: int, make_window: MakeWindow, make_config: MakeConfig
) -> None:
    window = make_window(fill, **market)
    env = TradingVectorEnv(window, make_config(reward="sharpe_increment"), accounts_per_symbol=2)
    equity = [[1_000.0] for _ in range(env.num_envs)]
    totals = np.zeros(env.num_envs)
    for rewards, truncated, info in _play(env, 12, seed):
        totals += rewards
        for account, path in enumerate(equity):
            path.append(info["equity"][account])
            pnls = np.diff(path)
            std = np.std(pnls, ddof=1) if len(pnls) > 1 else 0.0
            expected = np.mean(pnls) / std if std > 1e-9 else 0.0
            assert totals[account] == pytest.approx(expected, rel=1e-7, abs=1e-7)
            if truncated[account]:
                totals[account], path[:] = 0.0, [1_000.0]


@settings(deadline=None)
@given(market=_markets(), fill=FILLS, seed=SEEDS, scale=st.sampled_from([0.25, 8.0, 1024.0]))
def test_log_return_rewards_do_not_depend_on_the_price_level(
    market: dict[str, Any], fill: str, seed: int, scale: float, make_window: MakeWindow, make_config: MakeConfig
) -> None:
    window = make_window(fill, **market)
    scaled = replace(window, fill_prices=window.fill_prices * scale, mark_prices=window.mark_prices * scale)
    plain = [rewards for rewards, *_ in _play(TradingVectorEnv(window, make_config()), 10, seed)]
    other = [rewards for rewards, *_ in _play(TradingVectorEnv(scaled, make_config()), 10, seed)]
    assert np.array(other) == pytest.approx(np.array(plain), rel=1e-12, abs=1e-14)


# Legal actions


@pytest.mark.parametrize(
    ("before", "action", "message"),
    [
        ([], SELL, r"action 0 \(sell\) is masked at B 2024-01-01: the account is flat; valid actions: hold, buy"),
        ([BUY], BUY, r"action 2 \(buy\) is masked at B 2024-01-02: the account is long; valid actions: sell, hold"),
        ([BUY, SELL], SELL, r"action 0 \(sell\) is masked at B 2024-01-03: the account is flat"),
        ([BUY], 3, r"action 3 \(unknown\) is masked at B 2024-01-02"),
        ([], -1, r"action -1 \(unknown\) is masked at B 2024-01-01"),
    ],
)
def test_masked_action_is_refused_with_symbol_date_and_what_is_legal(
    before: list[int], action: int, message: str, make_window: MakeWindow, make_config: MakeConfig
) -> None:
    env = TradingVectorEnv(make_window("next_close", A=MARKS, B=MARKS), make_config())
    for earlier in before:
        env.step(np.array([HOLD, earlier]))
    with pytest.raises(ValueError, match=message):
        env.step(np.array([HOLD, action]))


def test_refused_step_leaves_the_environment_where_it_was(make_window: MakeWindow, make_config: MakeConfig) -> None:
    env = TradingVectorEnv(make_window("next_close", A=MARKS, B=MARKS), make_config())
    with pytest.raises(ValueError, match="masked"):
        env.step(np.array([BUY, SELL]))
    assert env.session.tolist() == [0, 0]
    assert env.accounts.position.tolist() == [0, 0]


@pytest.mark.parametrize("actions", [[HOLD], [HOLD, HOLD, HOLD], HOLD])
def test_other_numbers_of_actions_than_accounts_are_refused(
    actions: Any, make_window: MakeWindow, make_config: MakeConfig
) -> None:
    env = TradingVectorEnv(make_window("next_close", A=MARKS, B=MARKS), make_config())
    with pytest.raises(ValueError, match="one action for each of 2 accounts"):
        env.step(np.array(actions))


def test_sampled_actions_are_legal_and_reach_all_three(make_window: MakeWindow, make_config: MakeConfig) -> None:
    env = TradingVectorEnv(make_window("next_close", A=MARKS, B=MARKS[:3]), make_config(), accounts_per_symbol=5)
    env.reset(seed=3)
    seen = []
    for _ in range(50):
        actions, mask = env.action_space.sample(), env.accounts.action_mask()
        assert env.action_space.contains(actions)
        assert mask[np.arange(10), actions].all()
        env.step(actions)
        seen.append(actions)
    assert set(np.concatenate(seen).tolist()) == {SELL, HOLD, BUY}


@pytest.mark.parametrize("single", [True, False], ids=["single", "vector"])
def test_sampled_actions_repeat_with_the_seed_and_differ_without(
    single: bool, make_window: MakeWindow, make_config: MakeConfig
) -> None:
    window = make_window("next_close", A=MARKS)
    env = TradingEnv(window, make_config()) if single else TradingVectorEnv(window, make_config(), 4)

    def draw(seed: int) -> list[Any]:
        env.reset()
        env.action_space.seed(seed)
        return [np.asarray(env.action_space.sample()).tolist() for _ in range(30)]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_reset_with_a_seed_seeds_the_vector_environments_actions(
    make_window: MakeWindow, make_config: MakeConfig
) -> None:
    env = TradingVectorEnv(make_window("next_close", A=MARKS), make_config(), accounts_per_symbol=20)
    samples = []
    for seed in (1, 1, 2):
        env.reset(seed=seed)
        samples.append(env.action_space.sample().tolist())
    assert samples[0] == samples[1] != samples[2]


def test_single_environment_samples_legal_actions_only(make_window: MakeWindow, make_config: MakeConfig) -> None:
    env = TradingEnv(make_window("next_close", A=MARKS), make_config())
    env.reset()
    assert {int(env.action_space.sample()) for _ in range(50)} == {HOLD, BUY}
    env.step(BUY)
    assert {int(env.action_space.sample()) for _ in range(50)} == {SELL, HOLD}


# What the policy reads


def test_state_shows_the_account_after_the_fill(make_window: MakeWindow, make_config: MakeConfig) -> None:
    env = TradingVectorEnv(make_window("next_open", A=([1, 20, 30], [10, 21, 18])), make_config())
    env.step(np.array([BUY]))  # at the open of 20, marked at 21: + 5 %
    assert list(env.states().account) == [" long one day big gain. Decision:"]
    *_, info = env.step(np.array([HOLD]))  # 18 / 20: - 10 %
    assert list(info["final_states"].account) == [" long two days big loss. Decision:"]


def test_accounts_of_a_symbol_share_one_prefix(make_window: MakeWindow, make_config: MakeConfig) -> None:
    states = TradingVectorEnv(make_window("next_close", A=MARKS, B=MARKS), make_config(), 3).states()
    assert len(states) == 6
    assert len({id(prefix) for prefix in states.prefix[:3]}) == 1


def test_paper_view_shows_the_last_ten_rewards_net_values_and_actions(
    make_window: MakeWindow, make_config: MakeConfig
) -> None:
    # 1,000 buys 100 shares at 10 without cost, so equity is 100 x close; closes 10, 10, 11, 12, ..., 21, 22
    window = make_window("next_close", A=[10, 10, *range(11, 23)])
    env = TradingVectorEnv(window, make_config(cost_bps=0.0, slippage_bps=0.0, account_view="paper"))
    env.step(np.array([BUY]))
    for _ in range(11):
        env.step(np.array([HOLD]))
    # ln(12/11) = 0.0870, ln(13/12) = 0.0800, ... ln(21/20) = 0.0487, cut and not rounded
    assert env.states().account[0] == (
        ' {"cash_balance": 0.00, "asset_position": 100.0000, "total_account_value": 2100.00}, '
        '{"recent_rewards": [0.0870, 0.0800, 0.0741, 0.0689, 0.0645, 0.0606, 0.0571, 0.0540, 0.0512, 0.0487], '
        '"net_values": [1200.00000, 1300.00000, 1400.00000, 1500.00000, 1600.00000, '
        "1700.00000, 1800.00000, 1900.00000, 2000.00000, 2100.00000], "
        '"actions": [hold, hold, hold, hold, hold, hold, hold, hold, hold, hold]}\nDecision:'
    )


def test_paper_view_forgets_the_history_of_the_account_that_restarts_and_of_no_other(
    make_window: MakeWindow, make_config: MakeConfig
) -> None:
    env = TradingVectorEnv(make_window("next_close", A=MARKS, B=MARKS[:3]), make_config(account_view="paper"))
    fresh = env.states().account[1]
    env.step(np.array([HOLD, BUY]))
    assert '"actions": [buy]' in env.states().account[1]
    *_, info = env.step(np.array([BUY, HOLD]))
    assert '"actions": [buy, hold]' in info["final_states"].account[1]
    assert env.states().account[1] == fresh
    assert '"actions": [hold, buy]' in env.states().account[0]


def test_single_environment_wants_a_single_symbol(make_window: MakeWindow, make_config: MakeConfig) -> None:
    with pytest.raises(ValueError, match="TradingEnv trades one symbol; the window has A B"):
        TradingEnv(make_window("next_close", A=MARKS, B=MARKS), make_config())


# Gymnasium


def test_observation_given_is_not_changed_by_later_steps(make_window: MakeWindow, make_config: MakeConfig) -> None:
    env = TradingVectorEnv(make_window("next_close", A=MARKS), make_config())
    given, _ = env.reset()
    before = {name: values.tolist() for name, values in given.items()}
    env.step(np.array([BUY]))
    env.step(np.array([HOLD]))
    assert {name: values.tolist() for name, values in given.items()} == before


def test_changing_a_given_observation_does_not_change_the_environment(
    make_window: MakeWindow, make_config: MakeConfig
) -> None:
    env = TradingVectorEnv(make_window("next_close", A=MARKS), make_config())
    given, _ = env.reset()
    for values in given.values():
        values[:] = 3
    observation, *_ = env.step(np.array([BUY]))
    assert observation["session"].tolist() == [1]
    assert observation["sessions_held"].tolist() == [1]
    assert observation["action_mask"].tolist() == [[1, 1, 0]]


def test_vector_environment_declares_autoreset_in_the_same_step(
    make_window: MakeWindow, make_config: MakeConfig
) -> None:
    env = TradingVectorEnv(make_window("next_close", A=MARKS), make_config())
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


def test_record_episode_statistics_sees_every_episodes_return_and_length(
    make_window: MakeWindow, make_config: MakeConfig
) -> None:
    window = make_window("next_close", A=MARKS, B=MARKS[:3])
    env = RecordEpisodeStatistics(TradingVectorEnv(window, make_config()))
    env.reset()
    for action in ([BUY, BUY], [HOLD, HOLD], [HOLD, HOLD], [HOLD, HOLD], [HOLD, HOLD]):
        *_, info = env.step(np.array(action))
    # B: 2 steps from 1,000 to 100 x 9, then 2 flat steps; A: 5 steps from 1,000 to 100 x 20
    assert list(env.length_queue) == [2, 2, 5]
    assert list(env.return_queue) == pytest.approx([math.log(0.9), 0.0, math.log(2.0)])
    assert info["_episode"].tolist() == [True, False]


def test_gymnasiums_reward_wrappers_work_over_several_episodes(
    make_window: MakeWindow, make_config: MakeConfig
) -> None:
    window = make_window("next_close", A=MARKS, B=MARKS[:3])
    plain = TradingVectorEnv(window, make_config())
    scaled = TransformReward(TradingVectorEnv(window, make_config()), lambda rewards: 100.0 * rewards)
    normalized = NormalizeReward(TradingVectorEnv(window, make_config()))
    plain.reset(seed=0)
    scaled.reset()
    normalized.reset()
    for _ in range(12):
        actions = plain.action_space.sample()
        _, rewards, *_ = plain.step(actions)
        assert scaled.step(actions)[1].tolist() == (100.0 * rewards).tolist()
        assert np.isfinite(normalized.step(actions)[1]).all()
