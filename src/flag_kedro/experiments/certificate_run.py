"""One training on one fresh simulated market, judged on its held-out window against the oracle.

Shape legend: S = symbols, T = sessions.
"""

import math
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from flag_kedro.backtest.baselines import buy_and_hold
from flag_kedro.backtest.counterfactual import replay_targets, shift_in_time, shift_together
from flag_kedro.backtest.replay import Replay, replay
from flag_kedro.data.config import DataConfig
from flag_kedro.data.headlines import COMPANIES
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.data.windows import resolve_windows
from flag_kedro.env.account import Floats, Ints
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.evaluation import target_positions
from flag_kedro.env.prompt import tokenizer_texts
from flag_kedro.env.window import TradingWindow, cut_window
from flag_kedro.experiments.certificate import CertificateRun
from flag_kedro.experiments.oracle import ask_oracle
from flag_kedro.experiments.training import run_training
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_state import build_market_states
from flag_kedro.names import BENCHMARK, POLICY, VALIDATION_LOG_RETURN
from flag_kedro.policy.actor_critic import ActorCritic
from flag_kedro.policy.backbone import write_backbone
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.history import OnUpdate
from flag_kedro.ppo.runtime import RuntimeConfig
from flag_kedro.ppo.training_spec import TrainingSpec

MIN_ORACLE_T = 5.0
MAX_BUY_AND_HOLD_SHARE = 0.2
"""Markets below the one, or above the other, say nothing."""


@dataclass(frozen=True)
class CertificateSettings:
    """What all trainings of a certificate share: the parameters of a run."""

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
    states: dict[str, pl.DataFrame]
    """Market states of each symbol, of which the windows are cut."""
    truth: pl.DataFrame


@dataclass(frozen=True)
class MarketAssessment:
    """What a planted market's held-out window offers; log returns are sums over symbols."""

    oracle_log_return: float
    """What the headlines let the oracle expect, the noise left out."""
    oracle_t: float
    """t-statistic of the daily log returns that it had, noise included; 0 where it expects nothing."""
    buy_and_hold_share: float
    """Log return of buy and hold over that of the oracle."""
    informative: bool
    """Whether that says anything: the oracle's t is at least 5, and buy and hold takes or loses at most a fifth."""


def run_certificate_market(settings: CertificateSettings, seed: int, *, planted: bool) -> CertificateRun:
    """Draw a market, train on it, replay its held-out window once.

    Where the planted market says nothing (the oracle's own t-statistic is below 5, or buy and hold takes or loses more
    than a fifth of its return) neither it nor its twin is trained on.

    Args:
        settings: the parameters.
        seed: of the market and of the training.
        planted: whether headlines move prices; else it is the no-signal twin of the same market.
    """
    started = time.perf_counter()
    planted_market = draw_market(settings, seed, planted=True)
    assessment = assess_market(planted_market, settings)
    run = CertificateRun(seed=seed, planted=planted, **asdict(assessment))
    if not run.informative:
        return run
    market = planted_market if planted else draw_market(settings, seed, planted=False)
    with tempfile.TemporaryDirectory() as folder:
        model, curve = learn(settings, market, seed, Path(folder))
        replayed = replay(POLICY, market.test, settings.env, model.decide, read_ahead=model.read_ahead)
    log_return, targets = _log_return(replayed), decided_targets(replayed.decisions, settings)
    shifts = [rows[POLICY] for rows in shift_in_time(market.test, settings.env, {POLICY: targets}).values()]
    return replace(
        run,
        log_return=log_return,
        share=log_return / run.oracle_log_return if planted else None,
        shift_percentile=shift_together(shifts, partial(np.sum, axis=0)).percentile,
        exposure=float(replayed.equity["exposure"].to_numpy().mean()),
        curve=curve,
        seconds=time.perf_counter() - started,
    )


def assess_market(market: Market, settings: CertificateSettings) -> MarketAssessment:
    """What the oracle and buy and hold earn on a planted market's held-out window, and whether that says anything."""
    env = settings.env
    oracle = ask_oracle(market.test, env, market.truth, settings.simulated)
    oracle_log_return = float(oracle.expected_log_return.sum())
    if oracle_log_return <= 0.0:  # where the effect is smaller than the cost, it does not even trade
        return MarketAssessment(oracle_log_return, oracle_t=0.0, buy_and_hold_share=0.0, informative=False)
    oracle_t = t_statistic(_daily(replay_targets(market.test, env, oracle.targets[:, None]).equity[:, 0]))
    share = _log_return(replay(BENCHMARK, market.test, env, buy_and_hold)) / oracle_log_return
    return MarketAssessment(oracle_log_return, oracle_t, share, is_informative(oracle_t, share))


def is_informative(oracle_t: float, buy_and_hold_share: float) -> bool:
    """Whether a market says anything: rising and falling ones, in which holding or not holding is most of it, do not.

    Args:
        oracle_t: t-statistic of the oracle's daily log returns.
        buy_and_hold_share: log return of buy and hold over that of the oracle.
    """
    return oracle_t >= MIN_ORACLE_T and abs(buy_and_hold_share) <= MAX_BUY_AND_HOLD_SHARE


def draw_market(settings: CertificateSettings, seed: int, *, planted: bool) -> Market:
    """A market of `seed` with the source's own windows."""
    simulated = settings.simulated if planted else replace(settings.simulated, signal=0.0)
    market = simulate_market(settings.symbols, simulated, seed)
    names = {symbol: (name,) for symbol, name in COMPANIES.items()}
    states, _ = build_market_states(market.prices, market.news, names=names, **asdict(settings.features))
    data = DataConfig(source="simulated", seed=seed)
    windows = resolve_windows(data, states, num_warming=settings.features.num_warming)
    assert windows.validation is not None
    cut = partial(cut_window, states, fill=settings.env.fill, positions=settings.env.positions)
    return Market(cut(windows.train), cut(windows.validation), cut(windows.test), states, market.truth)


def t_statistic(daily: Floats) -> float:
    """Mean over standard error of the sum over symbols of daily log returns [S, T]; NaN stands where there is none."""
    summed = np.nansum(daily, axis=0)
    return float(summed.mean() / summed.std(ddof=1) * math.sqrt(len(summed)))


def learn(
    settings: CertificateSettings, market: Market, seed: int, folder: Path, on_update: OnUpdate | None = None
) -> tuple[ActorCritic, list[dict[str, float]]]:
    """A trained policy, and its validations as steps and log returns.

    Args:
        settings: the parameters.
        market: whose training and validation windows are read.
        seed: of every random draw.
        folder: an empty one for the backbone, needed no more afterwards.
        on_update: called after each update.
    """
    texts = tokenizer_texts(market.train.prefixes, settings.env.positions)
    write_backbone(settings.policy, texts, seed, folder)
    spec = TrainingSpec(
        folder, None, market.train, market.validation, settings.env, settings.policy, settings.ppo, settings.runtime,
        seed,
    )  # fmt: skip
    model, history = run_training(spec, on_update=on_update)
    score = VALIDATION_LOG_RETURN
    curve = [{"step": row["step"], "validation_log_return": row[score]} for row in history if score in row]
    return model, curve


def _log_return(replayed: Replay) -> float:
    """Summed over symbols and sessions."""
    return float(replayed.equity["log_return"].sum())


def _daily(equity: Floats) -> Floats:
    """Log returns [S, T - 1] of equity [S, T]."""
    return np.diff(np.log(equity), axis=1)


def decided_targets(decisions: pl.DataFrame, settings: CertificateSettings) -> Ints:
    """Position that each decision asks for, [S, T]."""
    tables = decisions.partition_by("symbol", maintain_order=True)  # replays sort symbols as windows do
    long_short = settings.env.positions == "long_short"
    return np.stack([target_positions(table, long_short=long_short) for table in tables])
