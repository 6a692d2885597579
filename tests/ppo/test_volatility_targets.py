"""What a volatility head learns: worked by hand, of the training window alone, in the order of the environments."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest
import torch
from tabular import TabularPolicy

from flag_kedro.env.config import EnvConfig, PortfolioConfig
from flag_kedro.env.portfolio import PortfolioVectorEnv
from flag_kedro.env.trading import TradingVectorEnv
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.errors import DataError
from flag_kedro.ppo import losses
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.rollout import RolloutCollector
from flag_kedro.ppo.volatility_targets import volatility_targets

MakeStates = Callable[..., pl.DataFrame]
STEPS = [0.01, 0.01, 0.01, 0.01, 0.01, 0.02, 0.02, 0.02, 0.02, 0.02]
"""Log returns up and down in turn; 11 closes."""


def closes(steps: list[float]) -> list[float]:
    signs = np.resize([1.0, -1.0], len(steps))
    return (100.0 * np.exp(np.concatenate([[0.0], np.cumsum(signs * steps)]))).tolist()


def cut(make_states: MakeStates, **steps: list[float]) -> TradingWindow:
    tables = {symbol: make_states(closes(moves), closes(moves)) for symbol, moves in steps.items()}
    return cut_window(tables, (date(2000, 1, 1), date(2099, 1, 1)), "next_open")


def test_targets_are_logarithms_of_the_next_five_squared_returns_in_deviations_from_their_mean(make_states: MakeStates):
    """Weeks of 5, 8, 11, 14, 17 and 20 times 1e-4; the last five closes have none."""
    targets = volatility_targets(cut(make_states, A=STEPS))
    logs = np.log(1e-4 * np.array([5, 8, 11, 14, 17, 20]))
    assert targets.mean == pytest.approx(logs.mean())
    assert targets.deviation == pytest.approx(logs.std())
    np.testing.assert_allclose(targets.values[0, :6] * targets.deviation + targets.mean, logs)
    assert np.isnan(targets.values[0, 6:]).all()
    assert np.nanmean(targets.values) == pytest.approx(0.0, abs=1e-12)


def test_nothing_behind_the_window_reaches_a_target(make_states: MakeStates):
    wild = [*STEPS, 0.5, 0.5, 0.5]
    table = make_states(closes(wild), closes(wild))
    days = table["session"].to_list()
    window = cut_window({"A": table}, (days[0], days[10]), "next_open")
    np.testing.assert_array_equal(
        volatility_targets(window).values, volatility_targets(cut(make_states, A=STEPS)).values
    )


def test_a_week_without_any_move_has_no_target_and_too_few_weeks_are_refused(make_states: MakeStates):
    still = volatility_targets(cut(make_states, A=[0.0] * 5 + [0.01, 0.03] * 3))
    assert np.isnan(still.values[0, 0])
    assert np.isfinite(still.values[0, 1:7]).all()
    with pytest.raises(DataError, match=r"has 0 such weeks .* set ppo\.volatility_coef to 0"):
        volatility_targets(cut(make_states, A=[0.01] * 4))
    with pytest.raises(DataError, match="they do not differ"):
        volatility_targets(cut(make_states, A=[0.0] * 30))


def test_targets_lie_beside_the_states_that_are_due(make_states: MakeStates):
    window = cut(make_states, A=STEPS, B=STEPS[::-1])
    targets = volatility_targets(window)
    env = TradingVectorEnv(window, EnvConfig(), 2)
    env.reset(options={"start": np.array([1, 3])})
    values = targets.values
    assert targets.of_states(env).tolist() == [values[0, 1], values[0, 1], values[1, 3], values[1, 3]]
    portfolio = PortfolioVectorEnv(window, EnvConfig(), PortfolioConfig(), 2)
    portfolio.reset(np.array([2, 4]))
    assert targets.of_states(portfolio).tolist() == [values[0, 2], values[1, 2], values[0, 4], values[1, 4]]


@pytest.mark.parametrize("portfolio", [None, PortfolioConfig()], ids=["symbols", "portfolio"])
def test_a_rollout_holds_the_target_of_each_prompt(make_states: MakeStates, portfolio: PortfolioConfig | None):
    from flag_kedro.ppo.actions import Weights

    window = cut(make_states, A=STEPS, B=STEPS[::-1])
    texts = tuple(tuple(f"{symbol} {day}" for day in range(11)) for symbol in "AB")
    window = replace(window, prefixes=texts)
    targets = volatility_targets(window)
    policy = TabularPolicy(1, lambda prefix, account: 0, forecasts=True)
    if portfolio is None:
        collector = RolloutCollector(TradingVectorEnv(window, EnvConfig(), 2), 0, 2, None, volatility=targets)
    else:
        env = PortfolioVectorEnv(window, EnvConfig(), portfolio, 2)
        collector = RolloutCollector(env, 0, 2, None, Weights(2, "long_flat", 1.0), targets)
    rollout = collector.collect(policy, 14)
    places = [("AB".index(text[0]), int(text[2:])) for text in rollout.states.prefix]
    expected = np.array([targets.values[place] for place in places], dtype=np.float32)
    np.testing.assert_array_equal(rollout.volatility.numpy(), expected)  # type: ignore[union-attr]
    assert len(places) == 14 * 4
    assert np.isnan(expected).any()


def test_loss_is_half_the_squared_error_and_nothing_without_a_target():
    forecasts = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    loss = losses.volatility_loss(forecasts, torch.tensor([0.0, torch.nan, 5.0]))
    assert loss.tolist() == [0.5, 0.0, 2.0]
    (slopes,) = torch.autograd.grad(loss.sum(), forecasts)
    assert slopes.tolist() == [1.0, 0.0, -2.0]


def test_without_the_head_nothing_names_it():
    """Hashes of trainings and what bundles say of them are as they were."""
    plain = PPOConfig(total_timesteps=1)
    assert "volatility_coef" not in plain.learning()
    assert replace(plain, volatility_coef=0.5).learning() == plain.learning() | {"volatility_coef": 0.5}
