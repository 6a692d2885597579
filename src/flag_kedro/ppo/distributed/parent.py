"""Processes that end with the one that started them."""

import os
import threading

STDIN = 0
GONE = 3
"""Exit code of a process whose parent went away."""


def end_with_parent() -> None:
    """From now on exit at once when standard input ends.

    The launcher holds the only writing end of a pipe that is the standard input of torchrun and, inherited from it, of
    all workers: it ends when the launcher closes it, and when the launcher dies in any way.
    """
    threading.Thread(target=_watch, name="parent", daemon=True).start()


def _watch() -> None:
    while os.read(STDIN, 1):
        pass
    os._exit(GONE)
