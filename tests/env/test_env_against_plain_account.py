"""The environment beside one account in plain Python (conftest.py), on random markets and in every configuration."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flag_kedro.env.config import EnvConfig
from flag_kedro.env.trading import TradingEnv, TradingVectorEnv
from flag_kedro.env.window import TradingWindow

MakeWindow = Callable[..., TradingWindow]
MakeConfig = Callable[..., EnvConfig]

NUM_MARKETS, NUM_STEPS = 150, 7
SEEDS = st.integers(0, 2**32 - 1)
CONFIGS = st.fixed_dictionaries(
    {
        "fill": st.sampled_from(["next_open", "next_close", "same_close"]),
        "positions": st.sampled_from(["long_flat", "long_short"]),
        "reward": st.sampled_from(["log_return", "sharpe_increment", "differential_sharpe"]),
        "cost_bps": st.sampled_from([0.0, 5.0, 300.0]),
        "slippage_bps": st.sampled_from([0.0, 200.0]),
        "borrow_bps_year": st.sampled_from([0.0, 1_000.0]),
        "cash_rate": st.sampled_from([0.0, 0.1]),
        "max_participation": st.sampled_from([None, 0.5]),
        "differential_sharpe_eta": st.sampled_from([0.01, 0.25]),
        "max_episode_steps": st.sampled_from([None, 3]),
        "max_drawdown_stop": st.sampled_from([None, 0.1, 0.5]),
        "drawdown_penalty": st.sampled_from([0.0, 2.0]),
        "cvar_penalty": st.sampled_from([0.0, 0.5]),
        "cvar_level": st.just(0.5),
    }
)


def _choose(mask: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """One legal action for each account: the one in the place that its draw in [0, 1) names."""
    return np.array([np.flatnonzero(legal)[int(draw * legal.sum())] for legal, draw in zip(mask, draws, strict=True)])


@given(seed=SEEDS, fields=CONFIGS, num_symbols=st.integers(1, 2))
def test_every_number_is_that_of_a_plain_account(
    seed: int,
    fields: dict[str, Any],
    num_symbols: int,
    random_market: Callable[..., Any],
    random_window: MakeWindow,
    plain_account: Callable[..., list[Any]],
    make_config: MakeConfig,
) -> None:
    config, which = make_config(**fields), seed % NUM_MARKETS
    market = random_market(which, num_symbols)
    env = TradingVectorEnv(random_window(which, config.fill, config.positions, num_symbols), config)
    draws = np.random.default_rng([seed, 1]).random((NUM_STEPS, num_symbols))
    expected = [
        plain_account(*prices, market.nights, config, draws[:, s].tolist())
        for s, prices in enumerate(market.symbols.values())
    ]
    for t in range(NUM_STEPS):
        mask = env.accounts.action_mask()
        actions = _choose(mask, draws[t])
        observed, rewards, terminated, truncated, info = env.step(actions)
        for s, steps in enumerate(expected):
            step = steps[t]
            assert (mask[s].tolist(), actions[s]) == (step.mask, step.action)
            assert (terminated[s], truncated[s]) == (step.terminated, step.truncated)
            assert info["position"][s] == step.held
            assert info["traded_value"][s] == pytest.approx(step.traded, rel=1e-12)
            assert info["equity"][s] == pytest.approx(step.equity, rel=1e-12, abs=1e-9)
            assert rewards[s] == pytest.approx(step.reward, rel=1e-12, abs=1e-12 * step.scale)
            ended = step.terminated or step.truncated
            seen = info["final_obs"][s] if ended else {name: values[s] for name, values in observed.items()}
            assert (seen["position"], seen["sessions_held"]) == (step.position, step.sessions_held)
            assert seen["unrealised_return"] == pytest.approx(step.unrealised, rel=1e-12, abs=1e-14)
            if not ended:
                assert env.accounts.cash[s] == pytest.approx(step.cash, rel=1e-12, abs=1e-9)
                assert env.accounts.shares[s] == pytest.approx(step.shares, rel=1e-12, abs=1e-12)


@given(seed=SEEDS, fields=CONFIGS, view=st.sampled_from(["position", "compact", "paper"]))
def test_accounts_go_together_bit_for_bit_as_each_goes_alone(
    seed: int, fields: dict[str, Any], view: str, random_window: MakeWindow, make_config: MakeConfig
) -> None:
    config, accounts = make_config(account_view=view, **fields), {1: "A", 2: "B"}
    cut = (seed % NUM_MARKETS, config.fill, config.positions)
    together = TradingVectorEnv(random_window(*cut), config, accounts_per_symbol=2)
    alone = {n: TradingVectorEnv(random_window(*cut, only=name), config) for n, name in accounts.items()}
    singles = {n: TradingEnv(random_window(*cut, only=name), config) for n, name in accounts.items()}
    for single in singles.values():
        single.reset()
    draws = np.random.default_rng([seed, 1]).random((5, 4))
    for step_draws in draws:
        actions = _choose(together.accounts.action_mask(), step_draws)
        outcome = together.step(actions)
        due, reached = together.states(), outcome[-1].get("final_states", together.states())
        for n, env in alone.items():
            _check_same(n, outcome, env.step(actions[n : n + 1]))
            assert (due.prefix[n], due.account[n]) == (env.states().prefix[0], env.states().account[0])
        for n, single in list(singles.items()):  # a single environment does not begin anew: its first episode
            observation, reward, terminated, truncated, info = single.step(int(actions[n]))
            assert observation["prompt"] == reached.prefix[n] + reached.account[n]
            assert observation["action_mask"].tolist() == reached.action_mask[n].tolist()
            assert (reward, terminated, truncated) == tuple(values[n] for values in outcome[1:4])
            assert info == {name: outcome[-1][name][n] for name in info}
            if terminated or truncated:
                del singles[n]


def _check_same(n: int, together: Any, alone: Any) -> None:
    """Account `n` of one step is to the last bit the only account of the other."""
    observed, *outcome, info = together
    seen, *expected, other = alone
    assert [values[n] for values in outcome] == [values[0] for values in expected]
    assert [info[name][n] for name in ("equity", "position", "traded_value")] == [
        other[name][0] for name in ("equity", "position", "traded_value")
    ]
    numbers = [name for name in seen if name != "symbol"]
    assert [observed[name][n].tolist() for name in numbers] == [seen[name][0].tolist() for name in numbers]
    if "final_states" in other:
        ended, its = info["final_states"], other["final_states"]
        assert (ended.prefix[n], ended.account[n]) == (its.prefix[0], its.account[0])
        assert [np.asarray(info["final_obs"][n][name]).tolist() for name in numbers] == [
            np.asarray(other["final_obs"][0][name]).tolist() for name in numbers
        ]
