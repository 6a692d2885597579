"""SIGINT and SIGTERM end a run as an ordinary failure does."""

import os
import signal
import threading
from collections.abc import Generator
from types import FrameType
from typing import Any

from kedro.framework.hooks import hook_impl

from flag_kedro.tracking.interrupts import forget_interrupt, interrupt, stop_if_asked

STOPPING = (signal.SIGINT, signal.SIGTERM)


class StopOnSignals:
    """Stops the run at the first signal, lets it tidy up through the second, and dies at the third."""

    def __init__(self) -> None:
        self._handlers: dict[signal.Signals, Any] = {}
        self._num_signals = 0

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self) -> None:
        """Take over the signals, which the main thread alone may do."""
        self.restore()
        if threading.current_thread() is threading.main_thread():
            self._num_signals = 0
            self._handlers = {number: signal.signal(number, self.stop) for number in STOPPING}

    @hook_impl(tryfirst=True)
    def before_node_run(self) -> None:
        """Stop between nodes where code in the node before swallowed the interrupt.

        Raises:
            RunInterrupted: when the run shall stop.
        """
        stop_if_asked()

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Give the signals back once MLflow's run has ended."""
        self.restore()

    @hook_impl(wrapper=True)
    def on_pipeline_error(self) -> Generator[None, Any, Any]:
        """Give the signals back once every other hook is done with the error, or has failed."""
        try:
            return (yield)
        finally:
            self.restore()

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Handle one signal.

        Raises:
            RunInterrupted: at the first one.
        """
        self._num_signals += 1
        name = signal.Signals(number).name
        if self._num_signals == 1:
            interrupt(f"stopped by {name}; outputs of finished nodes are whole, and an unfinished training can go on")
        if self._num_signals > 2:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def restore(self) -> None:
        """Put back the handlers that were there before, and forget that a run was asked to stop."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
        forget_interrupt()
