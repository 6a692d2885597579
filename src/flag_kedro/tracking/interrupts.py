"""Stopping a run by a signal, wherever the signal finds it.

The handler raises at once, so that whatever waits ends. Code that takes every exception for its own, such as logging
while it writes a line, swallows that; so the wish is remembered, and long loops ask for it.
"""

from flag_kedro.errors import RunInterrupted

_wish: str | None = None


def interrupt(message: str) -> None:
    """Stop the run here; and if that is swallowed, at the next `stop_if_asked`.

    Raises:
        RunInterrupted: always.
    """
    global _wish
    _wish = message
    raise RunInterrupted(message)


def ask_to_stop(message: str) -> None:
    """Stop the run at the next `stop_if_asked`; may be called in any thread."""
    global _wish
    _wish = message


def stop_if_asked() -> None:
    """Stop where an earlier `interrupt` was swallowed.

    Raises:
        RunInterrupted: when the run shall stop.
    """
    if _wish is not None:
        raise RunInterrupted(_wish)


def forget_interrupt() -> None:
    """Begin anew: no run is asked to stop."""
    global _wish
    _wish = None
