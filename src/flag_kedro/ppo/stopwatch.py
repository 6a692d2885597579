"""Wall time and reading speed of the phases of an update."""

import time
from collections.abc import Callable

from flag_kedro.policy.interface import Policy
from flag_kedro.ppo.history import ROLLOUT_SECONDS, ROLLOUT_SPEED, UPDATE_SECONDS, UPDATE_SPEED, Metrics


class Stopwatch:
    """Measures one update; a phase lasts from the lap before, at first from construction, to its own lap."""

    def __init__(self, model: Policy) -> None:
        self._model = model
        self._time, self._tokens_read = time.perf_counter(), model.tokens_read
        self.seconds: dict[str, float] = {}
        """Wall time by phase."""
        self.tokens: dict[str, int] = {}
        """Tokens that this process's model read, by phase."""

    def lap(self, phase: str) -> float:
        """End a phase; returns its seconds."""
        now, tokens_read = time.perf_counter(), self._model.tokens_read
        self.seconds[phase], self.tokens[phase] = now - self._time, tokens_read - self._tokens_read
        self._time, self._tokens_read = now, tokens_read
        return self.seconds[phase]

    def metrics(self, total: Callable[[int], int]) -> Metrics:
        """Seconds and tokens a second of the phases `rollout` and `update`.

        Args:
            total: the sum of a number over all processes.
        """
        return {
            ROLLOUT_SECONDS: self.seconds["rollout"],
            UPDATE_SECONDS: self.seconds["update"],
            ROLLOUT_SPEED: total(self.tokens["rollout"]) / self.seconds["rollout"],
            UPDATE_SPEED: total(self.tokens["update"]) / self.seconds["update"],
        }
