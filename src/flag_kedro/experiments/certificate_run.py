"""One training on one fresh simulated market, judged on its held-out window against the informed oracle.

Shape legend: S = symbols, T = sessions.
"""

import math
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from flag_kedro.backtest.baselines import buy_and_hold
from flag_kedro.backtest.counterfactual import pooled_shift_percentile, replay_targets
from flag_kedro.backtest.replay import Replay, replay
from flag_kedro.data.config import DataConfig
from flag_kedro.data.headlines import COMPANIES
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.data.windows import resolve_windows
from flag_kedro.env.account import Floats, Ints
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.evaluation import target_positions
from flag_kedro.env.prompt import tokenizer_texts
from flag_kedro.env.states import Decide
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.experiments.oracle import oracle_targets
from flag_kedro.experiments.scoring import RunSettings
from flag_kedro.experiments.training import train_on
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_state import build_market_states
from flag_kedro.names import VALIDATION_LOG_RETURN
from flag_kedro.policy.backbone import write_backbone
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig

MIN_ORACLE_T = 5.0
MAX_HELD_SHARE = 0.2
"""Markets below the one, or above the other, say nothing (SEMANTICS section 8)."""


@dataclass(frozen=True)
class CertificateSettings:
    """What all trials of a certificate share: the parameters of a run."""

    symbols: tuple[str, ...]
    simulated: SimulatedConfig
    features: FeaturesConfig
    env: EnvConfig
    policy: PolicyConfig
    ppo: PPOConfig
    runtime: RuntimeConfig


@dataclass(frozen=True)
class Market:
    """A fresh market cut into windows, and what only the simulation knows."""

    train: TradingWindow
    validation: TradingWindow
    test: TradingWindow
    truth: pl.DataFrame


def run_certificate_market(settings: CertificateSettings, seed: int, *, planted: bool) -> dict[str, Any]:
    """Draw a market, train on it, replay its held-out window once.

    Where the planted market says nothing (the oracle's own t-statistic is below 5, or buy and hold takes more than a
    fifth of its return) neither it nor its twin is trained on.

    Args:
        settings: the parameters.
        seed: of the market and of the training.
        planted: whether headlines move prices; else it is the no-signal twin of the same market.

    Returns:
        A row fit for JSON; `share` is null in the twin. Log returns are sums over symbols; those of the oracle and its
        t-statistic are of the planted market in both.
    """
    started = time.perf_counter()
    planted_market = draw_market(settings, seed, planted=True)
    row = {"seed": seed, "planted": planted, **assess_market(planted_market, settings.env)}
    if not row["informative"]:
        return row
    market = planted_market if planted else draw_market(settings, seed, planted=False)
    with tempfile.TemporaryDirectory() as folder:
        decide, curve = _learn(settings, market, seed, Path(folder))
        own = replay("trial", market.test, settings.env, decide)
    earned = _log_return(own)
    return row | {
        "log_return": earned,
        "share": earned / row["oracle_log_return"] if planted else None,
        "shift_percentile": pooled_shift_percentile(market.test, settings.env, _targets(own.decisions, settings)),
        "exposure": float((own.equity["position"] != 0).to_numpy().mean()),
        "curve": curve,
        "seconds": time.perf_counter() - started,
    }


def assess_market(market: Market, env: EnvConfig) -> dict[str, Any]:
    """What the oracle and buy and hold earn on a planted market's held-out window, and whether that says anything."""
    targets = oracle_targets(market.test, env, market.truth)[:, None]
    oracle = _daily(replay_targets(market.test, env, targets).equity[:, 0])
    possible = float(np.nansum(oracle))
    if possible <= 0.0:  # where the effect is smaller than the cost, it does not even trade
        return {"oracle_log_return": possible, "oracle_t": 0.0, "buy_and_hold_share": 0.0, "informative": False}
    t = t_statistic(oracle)
    held = _log_return(replay("buy_and_hold", market.test, env, buy_and_hold)) / possible
    return {
        "oracle_log_return": possible,
        "oracle_t": t,
        "buy_and_hold_share": held,
        "informative": t >= MIN_ORACLE_T and held <= MAX_HELD_SHARE,
    }


def draw_market(settings: CertificateSettings, seed: int, *, planted: bool) -> Market:
    """A market of `seed` with the source's own windows."""
    simulated = settings.simulated if planted else replace(settings.simulated, signal=0.0)
    market = simulate_market(settings.symbols, simulated, seed)
    names = {symbol: (name,) for symbol, name in COMPANIES.items()}
    states, _ = build_market_states(market.prices, market.news, names=names, **asdict(settings.features))
    windows = resolve_windows(DataConfig(source="simulated", seed=seed), states)
    assert windows.validation is not None
    cut = partial(cut_window, states, fill=settings.env.fill, positions=settings.env.positions)
    return Market(cut(windows.train), cut(windows.validation), cut(windows.test), market.truth)


def t_statistic(daily: Floats) -> float:
    """Mean over standard error of the sum over symbols of daily log returns [S, T]; NaN stands where there is none."""
    summed = np.nansum(daily, axis=0)
    return float(summed.mean() / summed.std(ddof=1) * math.sqrt(len(summed)))


def _learn(
    settings: CertificateSettings, market: Market, seed: int, folder: Path
) -> tuple[Decide, list[dict[str, float]]]:
    """A trained policy, and its validations as steps and log returns."""
    texts = tokenizer_texts(market.train.prefixes, settings.env.positions)
    write_backbone(settings.policy, texts, seed, folder)
    run = RunSettings(settings.env, settings.policy, settings.ppo, settings.runtime, calendars={})
    model, history = train_on(market.train, market.validation, folder, run, seed)
    score = VALIDATION_LOG_RETURN
    curve = [{"step": row["step"], "validation_log_return": row[score]} for row in history if score in row]
    return model.decide, curve


def _log_return(played: Replay) -> float:
    return float(played.equity["log_return"].sum())


def _daily(equity: Floats) -> Floats:
    """Log returns [S, T - 1] of equity [S, T]."""
    return np.diff(np.log(equity), axis=1)


def _targets(decisions: pl.DataFrame, settings: CertificateSettings) -> Ints:
    """Position that each decision asks for, [S, T]."""
    own = decisions.partition_by("symbol", maintain_order=True)  # replays sort symbols as windows do
    long_short = settings.env.positions == "long_short"
    return np.stack([target_positions(table["action"], table["position"], long_short=long_short) for table in own])
