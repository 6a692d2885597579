"""The parameters of a run, and the scores of a policy on the test window of a fold.

Shape legend: n = returns of a symbol's window.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from flag_kedro.backtest.baselines import buy_and_hold
from flag_kedro.backtest.benchmark import collapse_of
from flag_kedro.backtest.replay import Replay, replay
from flag_kedro.backtest.scores import Scores, score_strategies
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.evaluation import EvaluationWindow
from flag_kedro.env.window import TradingWindow, cut_window, require_events
from flag_kedro.experiments.folds import Fold, Span
from flag_kedro.names import BENCHMARK, POLICY
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.history import best_validation
from flag_kedro.ppo.runtime import RuntimeConfig

if TYPE_CHECKING:
    from flag_kedro.policy.interface import Evaluator

Row = dict[str, Any]
"""What is stored of a finished training: a `ScoredRun` or `runs.ValidatedRun` as JSON has it, and its trial."""


@dataclass(frozen=True)
class RunSettings:
    """What all trainings of an experiment share: the parameters of a run."""

    env: EnvConfig
    """With the fill that the data allow."""
    policy: PolicyConfig
    ppo: PPOConfig
    runtime: RuntimeConfig
    calendars: Mapping[str, str]
    """Exchange calendar of each symbol."""


@dataclass(frozen=True)
class ScoredRun:
    """A training scored on the test window of its fold; saved as JSON in this order."""

    fold: str
    seed: int
    windows: dict[str, list[str] | None]
    """First and last session date of each window, ISO."""
    validation_log_return: float | None
    """Of the weights kept, summed over symbols; None without a validation window."""
    scores: dict[str, dict[str, Scores]]
    """By symbol and strategy, in the convention `account`."""
    sessions: dict[str, list[str]]
    """By symbol, dates at whose close each return ends, [n]."""
    log_returns: dict[str, dict[str, list[float]]]
    """By strategy and symbol, [n]."""
    cash_returns: dict[str, list[float]]
    """By symbol, log returns of cash, [n]."""
    collapsed_to: str | None
    """The constant position that the policy held, see `collapse.Collapse`."""
    history: list[dict[str, float]]
    """Metrics of every update, without wall times."""


def score_run(
    states: Mapping[str, pl.DataFrame],
    fold: Fold,
    seed: int,
    settings: RunSettings,
    policy: "Evaluator",
    history: list[dict[str, float]],
) -> ScoredRun:
    """Replay a trained policy, and buy and hold, over the fold's test window.

    Args:
        states: market states.
        fold: the windows.
        seed: of the training.
        settings: the parameters.
        policy: the trained one.
        history: metrics of every update.

    Raises:
        LookAheadError, DataError: see `env.window.cut_window`.
    """
    evaluation = fold_evaluation(states, fold.test, settings)
    window, env = evaluation.window, evaluation.env
    replays = {
        POLICY: replay(POLICY, window, env, policy.decide, read_ahead=policy.read_ahead),
        BENCHMARK: replay(BENCHMARK, window, env, buy_and_hold),
    }
    dates = zip(window.symbols, window.sessions, strict=True)
    return ScoredRun(
        fold=fold.name,
        seed=seed,
        windows=fold.as_text(),
        validation_log_return=best_validation(history),
        scores=score_replays(replays, evaluation),
        sessions={symbol: [day.isoformat() for day in sessions[1:]] for symbol, sessions in dates},
        log_returns={name: log_returns(replayed) for name, replayed in replays.items()},
        cash_returns={symbol: values.tolist() for symbol, values in evaluation.cash_returns.items()},
        collapsed_to=collapse_of(replays[POLICY].decisions, long_short=evaluation.long_short).collapsed_to,
        history=history,
    )


def log_returns(replayed: Replay) -> dict[str, list[float]]:
    """Log returns of each symbol, [n], without the first session's, which has none."""
    by_symbol = replayed.equity.group_by("symbol", maintain_order=True)
    return {str(symbol): path["log_return"][1:].to_list() for (symbol,), path in by_symbol}


def fold_evaluation(states: Mapping[str, pl.DataFrame], span: Span, settings: RunSettings) -> EvaluationWindow:
    """A window of a fold as scoring needs it."""
    dates = (span[0].isoformat(), span[1].isoformat())
    return EvaluationWindow(cut(states, span, settings.env), settings.env, dates, dict(settings.calendars))


def score_replays(replays: Mapping[str, Replay], evaluation: EvaluationWindow) -> dict[str, dict[str, Scores]]:
    """Scores of every replay in the convention `account`, by symbol and strategy."""
    return score_strategies(
        pl.concat([played.decisions for played in replays.values()]),
        pl.concat([played.equity for played in replays.values()]),
        evaluation.marks,
        evaluation.calendars,
        "account",
        evaluation.cash_returns,
        long_short=evaluation.long_short,
    )


def cut(states: Mapping[str, pl.DataFrame], span: Span, env: EnvConfig) -> TradingWindow:
    """The sessions of `span` as the environment `env` trades them."""
    window = cut_window(states, span, env.fill, positions=env.positions, events=env.event_rule)
    return require_events(window, "fold's")
