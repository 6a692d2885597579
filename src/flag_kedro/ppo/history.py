"""Metrics of an update: their names, which of them repeat, and what validation said at best."""

import math
from collections.abc import Callable, Mapping, Sequence

from flag_kedro.names import VALIDATION_LOG_RETURN

Metrics = dict[str, float]
"""Metrics of one update by their names in MLflow, which docs/metrics.md explains."""
OnUpdate = Callable[[Mapping[str, float]], None]
"""Called with the metrics of each update, wall times included."""

STEP = "step"
"""Account-decisions taken so far."""
ENTROPY = "ppo/entropy"
APPROX_KL = "ppo/approx_kl"
CLIP_FRACTION = "ppo/clip_fraction"
GRAD_NORM = "ppo/grad_norm"
EXPLAINED_VARIANCE = "ppo/explained_variance"
LEARNING_RATE = "ppo/learning_rate"
REWARD = "env/reward"
SELL_SHARE, HOLD_SHARE, BUY_SHARE = "env/sell_share", "env/hold_share", "env/buy_share"
ROLLOUT_SECONDS, UPDATE_SECONDS = "ppo/rollout_seconds", "ppo/update_seconds"
VALIDATION_SECONDS = "ppo/validation_seconds"
PRUNED = "ppo/pruned"
"""1 in the last row of a training that was stopped since others had earned more on validation by then."""
ROLLOUT_SPEED, UPDATE_SPEED = "ppo/rollout_tokens_per_second", "ppo/update_tokens_per_second"
WALL_TIMES = ("_seconds", "_per_second")
"""Endings of metrics that differ from run to run."""


def without_wall_times(row: Mapping[str, float]) -> Metrics:
    """The metrics of an update that the same training always repeats."""
    return {name: value for name, value in row.items() if not name.endswith(WALL_TIMES)}


def wall_times(row: Mapping[str, float]) -> Metrics:
    """The metrics of an update that differ from run to run."""
    return {name: value for name, value in row.items() if name.endswith(WALL_TIMES)}


def pruned_at(history: Sequence[Mapping[str, float]]) -> int | None:
    """Updates after which a training was pruned; None for one that was not."""
    return len(history) if history and PRUNED in history[-1] else None


def best_so_far(history: Sequence[Mapping[str, float]]) -> dict[int, float]:
    """After each validation the best log return until then, by the account-decisions taken."""
    best, found = -math.inf, {}
    for row in history:
        if VALIDATION_LOG_RETURN in row:
            best = max(best, row[VALIDATION_LOG_RETURN])
            found[int(row[STEP])] = best
    return found


def best_validation(history: Sequence[Mapping[str, float]]) -> float | None:
    """Log return on validation of the weights that were kept; None without a validation window."""
    return max((row[VALIDATION_LOG_RETURN] for row in history if VALIDATION_LOG_RETURN in row), default=None)
