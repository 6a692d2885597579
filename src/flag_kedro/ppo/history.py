"""Rows of a training history: which figures repeat, and what validation said at best."""

from collections.abc import Mapping, Sequence

WALL_TIMES = ("_seconds", "_per_second")
"""Endings of metrics that differ from run to run."""
VALIDATION = "env/validation_log_return"


def without_wall_times(row: Mapping[str, float]) -> dict[str, float]:
    """The metrics of an update that the same training always repeats."""
    return {name: value for name, value in row.items() if not name.endswith(WALL_TIMES)}


def wall_times(row: Mapping[str, float]) -> dict[str, float]:
    """The metrics of an update that differ from run to run."""
    return {name: value for name, value in row.items() if name.endswith(WALL_TIMES)}


def best_validation(history: Sequence[Mapping[str, float]]) -> float | None:
    """Log return on validation of the weights that were kept; None without a validation window."""
    return max((row[VALIDATION] for row in history if VALIDATION in row), default=None)
