"""The shipped job earns its return by reading headlines (slow: trains with the shipped budget)."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import yaml

from flag_kedro.backtest.baselines import buy_and_hold
from flag_kedro.backtest.replay import replay
from flag_kedro.data.simulated import simulate_market
from flag_kedro.data.windows import resolve_windows
from flag_kedro.env.prompt import compact_account_texts
from flag_kedro.env.states import Decide
from flag_kedro.env.window import cut_window
from flag_kedro.features.market_state import build_market_states
from flag_kedro.hooks.parameters import Settings, check_parameters
from flag_kedro.policy.actor_critic import ActorCritic
from flag_kedro.policy.backbone import write_backbone
from flag_kedro.ppo.training import start_training
from flag_kedro.ppo.training_spec import TrainingSpec

BASE = Path(__file__).resolve().parents[2] / "conf" / "base" / "parameters.yml"
States = dict[str, pl.DataFrame]


def shipped() -> tuple[Settings, States]:
    settings = check_parameters(yaml.safe_load(BASE.read_text()))
    market = simulate_market(settings.data.symbols, settings.simulated, settings.data.seed)
    features = settings.features
    states, _ = build_market_states(
        market.prices,
        market.news,
        digest_sessions=features.digest_sessions,
        digest_chars=features.digest_chars,
        article_chars=features.article_chars,
    )
    return settings, states


def train_shipped(settings: Settings, states: States, folder: Path) -> ActorCritic:
    windows = resolve_windows(settings.data, states)
    assert windows.validation is not None
    train, validation = (
        cut_window(states, window, settings.env.fill) for window in (windows.train, windows.validation)
    )
    prompts = [text for texts in train.prefixes for text in texts]
    write_backbone(settings.policy, [*prompts, *compact_account_texts() * 100], settings.seed, folder)
    spec = TrainingSpec(
        folder, None, train, validation, settings.env, settings.policy, settings.ppo, settings.runtime, settings.seed
    )
    model, updates = start_training(spec)
    for _ in updates:
        pass
    return model


def log_returns(settings: Settings, states: States, rule: Decide) -> dict[str, float]:
    windows = resolve_windows(settings.data, states)
    played = replay("rule", cut_window(states, windows.test, settings.env.fill), settings.env, rule)
    return dict(played.equity.group_by("symbol").agg(pl.col("log_return").sum()).rows())


@pytest.mark.slow
def test_flag_trader_beats_buy_and_hold_only_while_it_can_read_headlines(tmp_path: Path):
    settings, states = shipped()
    model = train_shipped(settings, states, tmp_path)
    held = log_returns(settings, states, buy_and_hold)
    read = log_returns(settings, states, model.decide)
    rng = np.random.default_rng(0)
    shuffled = {
        symbol: table.with_columns(news_text=table["news_text"].gather(rng.permutation(table.height)))
        for symbol, table in states.items()
    }
    removed = {symbol: table.with_columns(news_text=pl.lit("none")) for symbol, table in states.items()}
    without = {
        name: log_returns(settings, changed, model.decide)
        for name, changed in (("shuffled", shuffled), ("removed", removed))
    }
    print({"read": read, "held": held, **without})  # noqa: T201
    assert sum(read[symbol] > held[symbol] for symbol in read) > len(read) / 2
    assert sum(read.values()) > 1.0
    for name, returns in without.items():
        assert sum(returns.values()) < 0.25 * sum(read.values()), name
    assert torch.get_num_threads() == settings.runtime.threads
