"""Nodes run in one thread, whoever starts them; `cli` refuses other runners of a command before anything starts."""

import os
import threading
from typing import Any

from kedro.framework.hooks import hook_impl

from flag_kedro.errors import ParameterError

ELSEWHERE = ("ParallelRunner", "ThreadRunner")


class OneThread:
    """Refuses to run nodes anywhere but in the thread that began the run, where MLflow's run is open."""

    def __init__(self) -> None:
        self._begun_in: tuple[int, int] | None = None

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Note the thread.

        Raises:
            ParameterError: for runners that are known to use others.
        """
        runner = str(run_params.get("runner"))
        if any(name in runner for name in ELSEWHERE):
            raise ParameterError(f"{runner} runs nodes in other threads or processes; use SequentialRunner()")
        self._begun_in = _here()

    @hook_impl(tryfirst=True)
    def before_dataset_loaded(self) -> None:
        """Refuse the first dataset that is loaded elsewhere.

        Raises:
            ParameterError: then.
        """
        if self._begun_in != _here():
            raise ParameterError(
                "data are loaded in another thread than the run's, so that MLflow would log to other runs; use "
                "SequentialRunner() without is_async"
            )


def _here() -> tuple[int, int]:
    return os.getpid(), threading.get_ident()
