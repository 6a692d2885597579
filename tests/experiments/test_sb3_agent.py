"""The agent of Stable-Baselines3: reproducible, the same after reopening, and optional."""

import sys
from datetime import date
from pathlib import Path

import polars as pl
import pytest
import torch

from flag_kedro.backtest.replay import replay
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.errors import DataError
from flag_kedro.experiments.sb3_agent import Sb3Agent, load_sb3, train_sb3
from flag_kedro.features.market_state import build_market_states
from flag_kedro.policy.manifest import write_manifest

pytest.importorskip("stable_baselines3", reason="the optional extra sb3 is not installed")

TRAIN, HELD_OUT = (date(2023, 7, 3), date(2023, 8, 31)), (date(2023, 9, 1), date(2023, 9, 29))
Market = tuple[pl.DataFrame, dict[str, pl.DataFrame]]


@pytest.fixture(scope="module")
def market() -> Market:
    config = SimulatedConfig(market="easy", first_session=TRAIN[0], last_session=HELD_OUT[1])
    drawn = simulate_market(("ALDR", "BRIX"), config, seed=0)
    states, _ = build_market_states(drawn.prices, drawn.news, digest_sessions=1, digest_chars=600, article_chars=240)
    return drawn.prices, states


def learn(market: Market, seed: int) -> Sb3Agent:
    torch.set_num_threads(1)
    prices, states = market
    windows = [cut_window({symbol: table}, TRAIN, "next_open") for symbol, table in states.items()]
    return train_sb3(prices, windows, EnvConfig(), seed, facts={"seed": seed}, timesteps=1_024)


@pytest.fixture(scope="module")
def agent(market: Market) -> Sb3Agent:
    return learn(market, 1)


@pytest.fixture(scope="module")
def held_out(market: Market) -> TradingWindow:
    return cut_window(market[1], HELD_OUT, "next_open")


def test_same_seed_gives_the_same_weights_and_another_seed_others(market: Market, agent: Sb3Agent) -> None:
    first, again, other = (one.policy.state_dict() for one in (agent, learn(market, 1), learn(market, 2)))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_reopened_agent_decides_the_same(
    market: Market, agent: Sb3Agent, held_out: TradingWindow, tmp_path: Path
) -> None:
    agent.write(tmp_path)
    write_manifest(tmp_path)
    opened = load_sb3(tmp_path)
    first, again = (replay("sb3", held_out, EnvConfig(), one.decide(market[0], held_out)) for one in (agent, opened))
    assert first.decisions.equals(again.decisions)
    assert first.decisions["action"].n_unique() > 1
    assert opened.facts == {"seed": 1}
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".safetensors"}
    (tmp_path / "agent.json").write_text((tmp_path / "agent.json").read_text().replace("return_1", "return_2"))
    with pytest.raises(DataError, match=r"agent\.json"):
        load_sb3(tmp_path)


def test_prices_of_the_future_change_no_decision(market: Market, agent: Sb3Agent, held_out: TradingWindow) -> None:
    day = held_out.sessions[0][9]
    changed = market[0].with_columns(
        pl.when(pl.col("session") > day).then(pl.col(name) * 3).otherwise(name).alias(name)
        for name in ("close", "adj_close")
    )
    before, after = (
        replay("sb3", held_out, EnvConfig(), agent.decide(prices, held_out)).decisions
        for prices in (market[0], changed)
    )
    assert before.filter(pl.col("session") <= day).equals(after.filter(pl.col("session") <= day))


def test_indicators_are_standardised_by_the_training_window_alone(market: Market, agent: Sb3Agent) -> None:
    prices, states = market
    later = pl.col("session") >= HELD_OUT[0]
    changed = prices.with_columns(
        pl.when(later).then(pl.col(name) * 3).otherwise(name).alias(name) for name in ("close", "adj_close")
    )
    again = learn((changed, states), 1)
    assert again.mean.tolist() == agent.mean.tolist()
    assert again.deviation.tolist() == agent.deviation.tolist()


def test_rule_refuses_a_session_too_many(market: Market, agent: Sb3Agent, held_out: TradingWindow) -> None:
    rule = agent.decide(market[0], held_out)
    replay("sb3", held_out, EnvConfig(), rule)
    with pytest.raises(ValueError, match="asked for one more"):
        replay("sb3", held_out, EnvConfig(), rule)


def test_without_the_package_the_message_says_how_to_install_it(
    market: Market, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(DataError, match=r"pip install 'flag_kedro\[sb3\]'"):
        learn(market, 1)
    with pytest.raises(DataError, match=r"pip install 'flag_kedro\[sb3\]'"):
        load_sb3(tmp_path)
