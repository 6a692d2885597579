"""Calls that end in time, whatever they wait for."""

from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from threading import Thread
from typing import TypeVar

Result = TypeVar("Result")


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """What `call` returns or raises, if that comes in time.

    The call runs in a thread of its own, which nobody waits for afterwards: so a name server, a socket or a lock that
    never answers costs these seconds at most, and a signal ends the wait at once.

    Raises:
        TimeoutError: when it does not.
    """
    outcome: Future[Result] = Future()
    context = copy_context()

    def work() -> None:
        try:
            outcome.set_result(context.run(call))
        except BaseException as error:
            outcome.set_exception(error)

    Thread(target=work, daemon=True, name="tracking").start()
    return outcome.result(timeout=seconds)
