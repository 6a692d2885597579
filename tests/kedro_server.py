"""Kedro commands in forks of one process that has imported all that they import, so that each starts in milliseconds.

Run as a script, this file is that process: one JSON object a line on its standard input is one command, and its exit
status is the answer. From the fork on, a command is what `python -m kedro` is: its own arguments, environment, output,
signals, error hook and exit.
"""

import gc
import importlib
import json
import os
import pkgutil
import random
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

PRELOADED = (
    "kedro.framework.cli.cli",
    "kedro.framework.session",
    "kedro.io",
    "kedro.runner",
    "kedro_mlflow.framework.cli.cli",
    "kedro_mlflow.framework.hooks",
    "kedro_mlflow.io.artifacts",
    "kedro_mlflow.io.metrics",
    "kedro_viz.integrations.kedro.hooks",
    "kedro_viz.integrations.kedro.run_hooks",
    "kedro_viz.launchers.cli.main",
    "mlflow.store.tracking.sqlalchemy_store",
    "exchange_calendars",
    "pandera.polars",
    "plotly.offline",
    "scipy.stats",
    "sklearn.linear_model",
)
NOT_PRELOADED = ("flag_kedro.__main__", "flag_kedro.settings", "flag_kedro.ppo.distributed.agent")
"""What acts when it is imported."""


class KedroServer:
    """The process that commands are forked from; a context manager that ends it."""

    def __init__(self, project: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=project,
            env=os.environ | {"COLUMNS": "120"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, arguments: Sequence[str], environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        """What `subprocess.run` of `kedro ARGUMENTS` returns."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            outputs = [Path(folder, name) for name in ("stdout", "stderr")]
            command = {
                "arguments": list(arguments),
                "environment": dict(environment),
                "outputs": list(map(str, outputs)),
            }
            print(json.dumps(command), file=self._process.stdin, flush=True)
            status = int(self._process.stdout.readline())
            return subprocess.CompletedProcess(list(arguments), status, *(path.read_text() for path in outputs))

    def __enter__(self) -> "KedroServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()


def preload() -> None:
    """Import all that commands import, and leave it out of garbage collection."""
    import flag_kedro

    modules = [module.name for module in pkgutil.walk_packages(flag_kedro.__path__, "flag_kedro.")]
    for name in (*PRELOADED, *(name for name in modules if name not in NOT_PRELOADED)):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def become(command: Mapping[str, Any]) -> None:
    """Take the arguments, the environment and the outputs of `command`, as a new process has them."""
    os.environ.clear()
    os.environ.update(command["environment"])
    streams = [os.open(os.devnull, os.O_RDONLY)]
    streams += [os.open(path, os.O_WRONLY | os.O_CREAT) for path in command["outputs"]]
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.argv[1:] = command["arguments"]
    random.seed()


def wait_for_command() -> bool:
    """True in the fork that is to run a command, False in the server once nobody asks any more."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what imports print is no answer
    preload()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os.close(answers)
            become(json.loads(line))
            return True
        os.write(answers, f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n".encode())
    return False


if __name__ == "__main__" and wait_for_command():
    runpy.run_module("kedro", run_name="__main__", alter_sys=True)
