"""Errors that a user can mend, as messages."""

import sys
from types import TracebackType
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import DatasetError

from flag_kedro.errors import FlagError


class ShowUserErrors:
    """Ends the command with a message, without a traceback, where the user can mend what went wrong."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: Any) -> None:
        """Let every error that is raised from here on be shown so."""
        sys.excepthook = show_error


def show_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what a user can mend as a message; anything else with its traceback."""
    cause = root_cause(error)
    if isinstance(cause, FlagError):
        print(f"\n{type(cause).__name__}: {cause}", file=sys.stderr)  # noqa: T201
    else:
        sys.__excepthook__(kind, error, trace)


def root_cause(error: BaseException) -> BaseException:
    """What went wrong while a dataset was loaded or saved; any other error is its own."""
    while isinstance(error, DatasetError) and error.__cause__ is not None:
        error = error.__cause__
    return error
