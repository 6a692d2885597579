"""A signal stops a run even where the code it finds takes every exception for its own."""

import logging
import os
import signal
from collections.abc import Iterator

import pytest

from flag_kedro.errors import RunInterrupted
from flag_kedro.hooks.signals import StopOnSignals
from flag_kedro.pipelines.progress import progress_bar
from flag_kedro.pipelines.training.progress import follow_training
from flag_kedro.tracking.interrupts import forget_interrupt, stop_if_asked


class SignalledWhileWriting(logging.StreamHandler):
    """A handler into which a SIGTERM comes while it writes its third line; as any of logging's, it reports errors."""

    lines = 0

    def format(self, record: logging.LogRecord) -> str:
        self.lines += 1
        if self.lines == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().format(record)


@pytest.fixture(autouse=True)
def _handled() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, StopOnSignals().stop)
    yield
    signal.signal(signal.SIGTERM, before)
    forget_interrupt()


@pytest.fixture
def told() -> Iterator[SignalledWhileWriting]:
    handler, logger = SignalledWhileWriting(), logging.getLogger("flag_kedro.pipelines.training.progress")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


def updates(given: list[int]) -> Iterator[dict[str, float]]:
    for step in range(10):
        given.append(step)
        yield {"step": float(step), "ppo/entropy": 1.0}


def test_logging_swallows_the_signal_and_the_next_update_stops_all_the_same(told: SignalledWhileWriting):
    given: list[int] = []

    def train() -> None:
        with follow_training(10) as on_update:
            for row in updates(given):
                on_update(row)

    with pytest.raises(RunInterrupted, match="stopped by SIGTERM"):
        train()
    assert told.lines == 3  # the line was written, so the signal did not stop the run there
    assert given == [0, 1, 2, 3]


def test_long_work_with_a_bar_stops_at_its_next_step():
    with pytest.raises(RunInterrupted, match="stopped by SIGTERM"):
        os.kill(os.getpid(), signal.SIGTERM)
    with progress_bar("replaying", 10) as advance, pytest.raises(RunInterrupted, match="stopped by SIGTERM"):
        advance()


def test_the_next_run_is_not_asked_to_stop():
    with pytest.raises(RunInterrupted):
        os.kill(os.getpid(), signal.SIGTERM)
    StopOnSignals().restore()
    stop_if_asked()
