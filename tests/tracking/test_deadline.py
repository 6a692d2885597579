"""Calls end in time."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from flag_kedro.errors import RunInterrupted
from flag_kedro.hooks.signals import StopOnSignals
from flag_kedro.tracking.deadline import within
from flag_kedro.tracking.interrupts import forget_interrupt


def test_results_and_errors_come_through():
    assert within(5.0, lambda: 7) == 7
    with pytest.raises(KeyError, match="gone"):
        within(5.0, lambda: {}["gone"])


def test_a_call_that_waits_for_ever_costs_its_seconds():
    begun, never = time.monotonic(), threading.Event()
    with pytest.raises(TimeoutError):
        within(0.2, never.wait)
    assert time.monotonic() - begun < 2.0
    never.set()


@pytest.fixture
def _handled() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, StopOnSignals().stop)
    yield
    signal.signal(signal.SIGTERM, before)
    forget_interrupt()


@pytest.mark.usefixtures("_handled")
def test_a_signal_ends_the_wait_at_once():
    begun, never = time.monotonic(), threading.Event()
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(RunInterrupted, match="stopped by SIGTERM"):
        within(30.0, never.wait)
    assert time.monotonic() - begun < 5.0
    never.set()
