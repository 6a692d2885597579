"""The audit that runs with every backtest catches each leak planted behind ingest, and passes without one."""

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from backtest_leaks import IN_PARTS, LEAKS, ON_MOVES, UNLIMITED, Leak

from flag_kedro import names
from flag_kedro.backtest.config import BacktestConfig
from flag_kedro.data.config import DataConfig, WindowsConfig
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.data.universe import UNIVERSE
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.env.states import Decisions, States
from flag_kedro.experiments.cached_policy import CachedPolicy
from flag_kedro.experiments.strategies import Strategies, join_replays
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_tables import MarketTables
from flag_kedro.pipelines.backtest.audit_nodes import audit_backtest

SYMBOLS = ("ALDR", "BRIX")
WINDOWS = WindowsConfig(
    train=(date(2023, 5, 1), date(2023, 6, 9)),
    validation=(date(2023, 6, 12), date(2023, 6, 15)),
    test=(date(2023, 6, 16), date(2023, 8, 4)),
)


@pytest.fixture(scope="module")
def tables() -> MarketTables:
    """Two members of a universe, of which one lacks volumes and is delisted a month after the test window."""
    config = SimulatedConfig(market="easy", first_session=date(2023, 5, 1), last_session=date(2023, 9, 1))
    market = simulate_market(SYMBOLS, config, seed=0)
    present = pl.Series(np.random.default_rng(0).random(market.prices.height) < 2 / 3)
    missing = ~present & (pl.col("symbol") == "BRIX")
    prices = market.prices.with_columns(volume=pl.when(~missing).then(pl.col("volume")))
    rows = [("ALDR", None, None, None), ("BRIX", None, date(2023, 8, 18), date(2023, 9, 1))]
    universe = pl.DataFrame(rows, schema=UNIVERSE, orient="row")
    return MarketTables(prices, market.news, {}, universe, FeaturesConfig(digest_sessions=1))


def reads_the_prompt(states: States) -> Decisions:
    """Decide by the characters of the prompt."""
    prompts = [prefix + text for prefix, text in zip(states.prefix, states.account, strict=True)]
    scores = np.array([[1 + hash_of(prompt + action) for action in "shb"] for prompt in prompts], dtype=float)
    probabilities = np.where(states.action_mask, scores, 0.0)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Decisions(probabilities.argmax(axis=1), probabilities, scores[:, 0])


def hash_of(text: str) -> int:
    return sum(place * ord(char) for place, char in enumerate(text, start=1)) % 997


def audited(tables: MarketTables, env: EnvConfig, times: int = 7, seed: int = 0) -> dict[str, Any]:
    """What the backtest's own node finds; seven times are a month's end and each weekday."""
    split = MarketSplit.of(tables.build_states(), DataConfig(symbols=SYMBOLS, windows=WINDOWS), env)
    policy = CachedPolicy(reads_the_prompt)
    strategies = Strategies({names.POLICY: lambda: policy}, None, split, seed)
    decisions, equity = join_replays(strategies.play(tables.prices, split.states))
    return audit_backtest(decisions, equity, tables, split, strategies, None, BacktestConfig(audit_times=times), seed)


@pytest.mark.parametrize("env", [IN_PARTS, UNLIMITED], ids=["orders in parts", "orders filled whole"])
def test_backtest_without_a_leak_passes(tables: MarketTables, env: EnvConfig) -> None:
    found = audited(tables, env, times=12)
    assert found["passed"], found
    assert found["fills"]["num_fills"] > 50
    assert len(found["checks"]) == 36
    assert all(count > 0 for check in found["checks"] for count in check["compared"].values())


def test_backtest_on_events_without_a_leak_passes(tables: MarketTables) -> None:
    found = audited(tables, replace(ON_MOVES, event_news_burst=3.0))
    assert found["passed"], found
    assert found["fills"]["num_fills"] > 10


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.name)
def test_leak_is_caught(leak: Leak, tables: MarketTables, monkeypatch: pytest.MonkeyPatch) -> None:
    leak.plant(monkeypatch)
    found = audited(tables, leak.env)
    assert not found["passed"]
    checks = [*found["checks"], found["levels"], found["fills"]]
    kinds = {difference["what"] for check in checks for difference in check["differences"]}
    assert leak.caught_as in kinds, kinds
