"""Errors that a user can mend, as messages."""

import sys
from types import TracebackType
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import DatasetError

from flag_kedro.errors import FlagError, MadeOtherwiseError
from flag_kedro.hooks.command import run_command


class ShowUserErrors:
    """Ends the command with a message, without a traceback, where the user can mend what went wrong."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: Any) -> None:
        """Let every error that is raised from here on be shown so."""
        sys.excepthook = show_error

    @hook_impl(tryfirst=True)
    def on_pipeline_error(self, error: Exception, run_params: dict[str, Any]) -> None:
        """Add the command that reads what is on disk as it was made."""
        cause = root_cause(error)
        if isinstance(cause, MadeOtherwiseError) and cause.params:
            cause.add_note(f"With the parameters it was made with:\n  {run_command(run_params, params=cause.params)}")


def show_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what a user can mend as a message; anything else with its traceback."""
    cause = root_cause(error)
    if isinstance(cause, FlagError):
        text = "\n".join([str(cause), *getattr(cause, "__notes__", [])])
        print(f"\n{type(cause).__name__}: {text}", file=sys.stderr)  # noqa: T201
    else:
        sys.__excepthook__(kind, error, trace)


def root_cause(error: BaseException) -> BaseException:
    """What went wrong while a dataset was loaded or saved; any other error is its own."""
    while isinstance(error, DatasetError) and error.__cause__ is not None:
        error = error.__cause__
    return error
