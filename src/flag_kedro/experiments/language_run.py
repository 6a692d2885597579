"""One reader of headlines on one market whose wordings are new in each window.

Shape legend: S = symbols, T = sessions.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from flag_kedro.backtest.counterfactual import cumulative_log_returns, replay_targets, shift_in_time, shift_together
from flag_kedro.backtest.replay import replay
from flag_kedro.backtest.text_ridge import fit_text_ridge, ridge_targets
from flag_kedro.env.account import Ints
from flag_kedro.experiments.certificate_run import CertificateSettings, Market, decided_targets, learn
from flag_kedro.experiments.reading import Reading, measure_reading
from flag_kedro.experiments.sentence_encoder import SentenceEncoder, encoder_ridge_targets
from flag_kedro.names import POLICY, RANDOM_WEIGHTS, TEXT_LINEAR_PPO, TEXT_RIDGE
from flag_kedro.policy.interface import Evaluator
from flag_kedro.ppo.history import OnUpdate
from flag_kedro.ppo.text_baseline import start_bag_of_words

ENCODER_RIDGE = "encoder_ridge"
READERS = (POLICY, RANDOM_WEIGHTS, TEXT_LINEAR_PPO, TEXT_RIDGE, ENCODER_RIDGE)
"""Who reads: the language model, the same geometry with random weights, the linear policy on words, the ridge
regression on words, and the one on a sentence encoder's vectors."""


@dataclass(frozen=True, kw_only=True)
class LanguageRun:
    """What one reader took of one market's held-out window; saved as JSON in this order."""

    seed: int
    """Of market and training."""
    reader: str
    """Of `READERS`."""
    planted: bool
    """Whether headlines move prices; else it is the no-signal twin."""
    log_return: float
    """Summed over symbols."""
    reading: Reading | None
    """None in the twin."""
    shift_percentile: float | None
    """Of its log return among those of its path shifted in time, in [0, 1]; None for a path that never changes."""
    exposure: float
    """Share of sessions with a position."""
    seconds: float
    """Wall time."""


def run_reader(
    reader: str,
    market: Market,
    settings: CertificateSettings,
    seed: int,
    *,
    planted: bool,
    on_update: OnUpdate | None = None,
) -> LanguageRun:
    """Let a reader learn on the market's training window, choose on validation, and trade the held-out one once.

    Args:
        reader: of `READERS`.
        market: of `seed`, or its no-signal twin.
        settings: the parameters.
        seed: of market and training.
        planted: whether headlines move the market's prices.
        on_update: called after each update of a training.

    Raises:
        ParameterError: when the backbone or the sentence encoder cannot be had.
    """
    started = time.perf_counter()
    targets = _targets(reader, market, settings, seed, on_update)
    paths = replay_targets(market.test, settings.env, targets[:, None])
    log_return = float(cumulative_log_returns(paths.equity, market.test).sum())
    shifts = [rows[reader] for rows in shift_in_time(market.test, settings.env, {reader: targets}).values()]
    measured = partial(measure_reading, targets, log_return, market.test, settings.env, market.truth)
    return LanguageRun(
        seed=seed,
        reader=reader,
        planted=planted,
        log_return=log_return,
        reading=measured(settings.simulated) if planted else None,
        shift_percentile=shift_together(shifts, partial(np.sum, axis=0)).percentile,
        exposure=float(np.mean([targets[s, :n].mean() for s, n in enumerate(market.test.num_sessions)])),
        seconds=time.perf_counter() - started,
    )


def _targets(reader: str, market: Market, settings: CertificateSettings, seed: int, on_update: OnUpdate | None) -> Ints:
    """Positions that a reader asks for on the held-out window, [S, T]."""
    env, cost = settings.env, settings.env.cost
    if reader == TEXT_RIDGE:
        return ridge_targets(fit_text_ridge(market.states, market.train, cost), market.states, market.test)
    if reader == ENCODER_RIDGE:
        return encoder_ridge_targets(
            SentenceEncoder(), market.states, market.train, market.validation, market.test, env
        )
    train = _train_words if reader == TEXT_LINEAR_PPO else _train_language_model
    if reader == RANDOM_WEIGHTS:
        settings = replace(settings, policy=replace(settings.policy, weights="random"))
    policy = train(market, settings, seed, on_update)
    replayed = replay(reader, market.test, env, policy.decide, read_ahead=policy.read_ahead)
    return decided_targets(replayed.decisions, settings)


def _train_language_model(
    market: Market, settings: CertificateSettings, seed: int, on_update: OnUpdate | None
) -> Evaluator:
    with tempfile.TemporaryDirectory() as folder:
        model, _ = learn(settings, market, seed, Path(folder), on_update)
    return model


def _train_words(market: Market, settings: CertificateSettings, seed: int, on_update: OnUpdate | None) -> Evaluator:
    model, updates = start_bag_of_words(
        market.train, market.validation, settings.env, settings.ppo, settings.runtime, seed
    )
    follow: Callable[[dict[str, float]], None] = on_update or (lambda row: None)
    with closing(updates):
        for row in updates:
            follow(row)
    return model
