"""Strategies of a backtest: a policy is opened when it is first asked, and only once."""

from collections.abc import Callable, Sequence
from datetime import date

import numpy as np
import polars as pl
import pytest

from flag_kedro.data.config import DataConfig, WindowsConfig
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import Decisions, States
from flag_kedro.experiments.cached_policy import CachedPolicy
from flag_kedro.experiments.folds import common_sessions, roll_folds
from flag_kedro.experiments.open_strategies import _once
from flag_kedro.experiments.strategies import RULES, Strategies, join_replays


class Hold:
    """A policy that holds; `announced` are the prompts that it was told of."""

    def __init__(self) -> None:
        self.announced: set[str] = set()

    def decide(self, states: States) -> Decisions:
        assert set(states.prefix) <= self.announced
        probabilities = np.tile([0.0, 1.0, 0.0], (len(states), 1))
        return Decisions(np.ones(len(states), dtype=np.int64), probabilities, np.zeros(len(states)))

    def read_ahead(self, prefixes: Sequence[str]) -> None:
        self.announced |= set(prefixes)


@pytest.fixture
def split(small_states: dict[str, pl.DataFrame]) -> MarketSplit:
    (fold,) = roll_folds(common_sessions(small_states), train=20, validation=10, test=12, folds=1)
    windows = WindowsConfig(train=fold.train, validation=fold.validation, test=fold.test)
    return MarketSplit.of(small_states, DataConfig(windows=windows), EnvConfig())


@pytest.fixture
def small_prices() -> pl.DataFrame:
    """Prices that `small_states` were built from."""
    config = SimulatedConfig(market="easy", first_session=date(2023, 7, 3), last_session=date(2023, 9, 29))
    return simulate_market(("ALDR", "BRIX"), config, seed=0).prices


def counted(opened: list[str], name: str) -> Callable[[], CachedPolicy]:
    return _once(lambda: (opened.append(name), Hold())[1])


def test_policy_that_is_left_out_is_never_opened(split: MarketSplit, small_prices: pl.DataFrame):
    opened: list[str] = []
    policies = {name: counted(opened, name) for name in ("flag_trader", "untrained_lm")}
    strategies = Strategies(policies, None, split, seed=0)
    played = strategies.play(small_prices, split.states, leave_out=("untrained_lm",))
    assert opened == ["flag_trader"]
    assert set(played) == {"flag_trader", *RULES}
    strategies.play(small_prices, split.states, leave_out=("untrained_lm",))
    assert opened == ["flag_trader"]
    assert strategies.policy("flag_trader") is strategies.policy("flag_trader")


def test_tables_hold_every_strategy_on_every_session(split: MarketSplit, small_prices: pl.DataFrame):
    strategies = Strategies({"flag_trader": counted([], "flag_trader")}, None, split, seed=0)
    decisions, equity = join_replays(strategies.play(small_prices, split.states))
    per_strategy = len(split.states) * 12
    assert decisions.height == equity.height == len(strategies) * per_strategy
