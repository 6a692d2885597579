"""The trading MDP by numbers: the same money as by prompts, and indicators of the past alone."""

from datetime import date

import numpy as np
import polars as pl
import pytest
from gymnasium.utils.env_checker import check_env

from flag_kedro.backtest.replay import replay
from flag_kedro.backtest.rules import follow
from flag_kedro.data.simulated import SimulatedConfig, SimulatedMarket, simulate_market
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.errors import DataError
from flag_kedro.experiments.indicator_env import INDICATORS, IndicatorEnv, indicator_table, position_code
from flag_kedro.features.market_state import build_market_states

SELL, HOLD, BUY = 0, 1, 2
WINDOW = (date(2023, 7, 10), date(2023, 8, 9))


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    config = SimulatedConfig(market="easy", first_session=date(2023, 7, 3), last_session=date(2023, 9, 29))
    return simulate_market(("ALDR", "BRIX"), config, seed=0)


@pytest.fixture(scope="module")
def states(market: SimulatedMarket) -> dict[str, pl.DataFrame]:
    return build_market_states(market.prices, market.news, digest_sessions=1, digest_chars=600, article_chars=240)[0]


@pytest.fixture(scope="module")
def window(states: dict[str, pl.DataFrame]) -> TradingWindow:
    return cut_window(states, WINDOW, "next_open")


@pytest.fixture
def environment(states: dict[str, pl.DataFrame], market: SimulatedMarket) -> IndicatorEnv:
    alone = cut_window({"BRIX": states["BRIX"]}, WINDOW, "next_open")
    return IndicatorEnv(alone, EnvConfig(), indicator_table(market.prices, alone)[0])


def test_numbers_are_those_that_the_prompt_tells(market: SimulatedMarket, window: TradingWindow) -> None:
    table = indicator_table(market.prices, window)
    assert table.shape == (2, 23, 7)
    for s, prefixes in enumerate(window.prefixes):
        for t, prefix in enumerate(prefixes):
            named = dict(zip(INDICATORS, table[s, t], strict=True))
            moves = f"1d {named['return_1']:+.1%}, 5d {named['return_5']:+.1%}"
            prompt_text = f"RSI {named['rsi_14']:.0f}, MACD {named['macd']:+.1%}, range {named['range_60']:.0%}"
            assert moves.replace("-0.0%", "+0.0%") in prefix  # a prompt has no negative zero
            assert prompt_text.replace("-0.0%", "+0.0%") in prefix


def test_prices_after_a_session_change_no_number_up_to_it(market: SimulatedMarket, window: TradingWindow) -> None:
    day = window.sessions[0][9]
    later = pl.col("session") > day
    changed = market.prices.with_columns(
        pl.when(later).then(pl.col(name) * 10).otherwise(name).alias(name) for name in ("close", "adj_close")
    )
    before, after = (indicator_table(prices, window) for prices in (market.prices, changed))
    assert np.array_equal(before[:, :10], after[:, :10])
    assert not np.array_equal(before[:, 10:], after[:, 10:])


def test_window_without_enough_prices_before_it_is_refused(market: SimulatedMarket, window: TradingWindow) -> None:
    short = market.prices.filter(pl.col("session") >= WINDOW[0])
    with pytest.raises(DataError, match=r"ALDR 2023-07-10: no indicators in 23 session"):
        indicator_table(short, window)


@pytest.mark.filterwarnings("ignore:.*Box observation space.*:UserWarning")
def test_environment_keeps_gymnasiums_contract(environment: IndicatorEnv) -> None:
    check_env(environment, skip_render_check=True)


def test_illegal_actions_hold(environment: IndicatorEnv) -> None:
    def play(actions: list[int]) -> list[tuple[list[float], float]]:
        environment.reset()
        steps = [environment.step(action) for action in actions]
        return [(observation.tolist(), reward) for observation, reward, *_ in steps]

    assert play([SELL, BUY, BUY, SELL, SELL]) == play([HOLD, BUY, HOLD, SELL, HOLD])
    assert play([BUY, BUY]) != play([BUY, SELL])


def test_rewards_are_the_replays_log_returns_in_percent(environment: IndicatorEnv, window: TradingWindow) -> None:
    wanted = np.tile([0, 1, 1, 0, 1, 0, 0], 4)[:23]
    log_returns = (
        replay("rule", window, EnvConfig(), follow(np.stack([wanted, wanted])))
        .equity.filter(symbol="BRIX")["log_return"]
        .to_list()
    )
    environment.reset()
    rewards, ended = [], False
    while not ended:
        observation, reward, terminated, ended, _ = environment.step(BUY if wanted[len(rewards)] else SELL)
        rewards.append(reward)
        assert not terminated
        assert observation[-1] == (1.0 if wanted[len(rewards) - 1] else -1.0)
    assert rewards == pytest.approx([100 * log_return for log_return in log_returns[1:]])


def test_last_observation_is_that_of_the_last_session_not_of_the_next_episode(environment: IndicatorEnv) -> None:
    first, _ = environment.reset()
    observed = [first, *(environment.step(HOLD)[0] for _ in range(22))]
    assert len({tuple(observation) for observation in observed}) == 23
    again, _ = environment.reset()
    assert np.array_equal(first, again)


def test_position_is_read_from_what_is_legal() -> None:
    masks = np.array([[True, True, False], [True, True, True], [False, True, True]])
    assert position_code(masks).tolist() == [1.0, 0.0, -1.0]
