"""Kedro commands in forks of one process that has imported all that they import, so that each starts in milliseconds.

Run as a script, this file is that process: one JSON object a line on its standard input is one command, and its
process id is the answer; a question after that process is answered with its exit status, or null while it runs. From
the fork on, a command is what `python -m kedro` is: its own arguments, environment, output, signals, error hook and
exit.
"""

import gc
import importlib
import inspect
import json
import os
import pkgutil
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

PRELOADED = (
    "alembic.command",
    "arch.bootstrap",
    "git",
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
    "mlflow.tracing.provider",
    "opentelemetry.sdk.trace",
    "exchange_calendars",
    "pandera.polars",
    "plotly.offline",
    "scipy.stats",
    "sklearn.linear_model",
    "sqlalchemy.dialects.sqlite",
)
NOT_PRELOADED = ("flag_kedro.__main__", "flag_kedro.settings", "flag_kedro.ppo.distributed.agent")
"""What acts when it is imported."""


def as_parameters(text: str) -> dict[str, Any]:
    """`a.b=1,c=d` as `kedro run --params` reads it."""
    parameters: dict[str, Any] = {}
    for pair in text.split(","):
        path, value = pair.split("=", 1)
        *groups, last = path.split(".")
        level = parameters
        for group in groups:
            level = level.setdefault(group, {})
        level[last] = int(value) if value.isdecimal() else value
    return parameters


class StartedCommand:
    """A command in progress."""

    def __init__(self, server: "KedroServer", pid: int, outputs: Sequence[Path]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server, self._outputs = server, outputs

    def output(self) -> str:
        """What it has printed so far, errors last."""
        return "".join(path.read_text() for path in self._outputs)

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""
        if self.returncode is None:
            self.returncode = self._server.ask({"ended": self.pid})
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Nothing where it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float = 240) -> int:
        """Its exit status once it has ended."""
        end = time.monotonic() + timeout
        while (status := self.poll()) is None:
            assert time.monotonic() < end, self.output()
            time.sleep(0.02)
        return status

    def wait_until(self, reached: Callable[[], bool], timeout: float = 240) -> None:
        """Return once something has come about while the command still runs."""
        end = time.monotonic() + timeout
        while not reached():
            assert self.poll() is None, self.output()
            assert time.monotonic() < end, self.output()
            time.sleep(0.02)


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

    def ask(self, question: Mapping[str, Any]) -> Any:
        """The process's answer to one line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def run(self, arguments: Sequence[str], environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        """What `subprocess.run` of `kedro ARGUMENTS` returns."""
        with tempfile.TemporaryDirectory() as folder:
            outputs = [Path(folder, name) for name in ("stdout", "stderr")]
            pid = self._start(arguments, environment, outputs)
            status = self.ask({"wait": pid})
            return subprocess.CompletedProcess(list(arguments), status, *(path.read_text() for path in outputs))

    @contextmanager
    def started(self, arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[StartedCommand]:
        """`kedro ARGUMENTS` in progress; it is killed at the end of the block."""
        with tempfile.TemporaryDirectory() as folder:
            outputs = [Path(folder, name) for name in ("stdout", "stderr")]
            command = StartedCommand(self, self._start(arguments, environment, outputs), outputs)
            try:
                yield command
            finally:
                command.send_signal(signal.SIGKILL)
                command.wait()

    def _start(self, arguments: Sequence[str], environment: Mapping[str, str], outputs: Sequence[Path]) -> int:
        for path in outputs:
            path.touch()
        command = {"arguments": list(arguments), "environment": dict(environment), "outputs": list(map(str, outputs))}
        return int(self.ask(command))

    def __enter__(self) -> "KedroServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()


def preload() -> None:
    """Import all that commands import, know what is the same for all, and leave it out of garbage collection."""
    import flag_kedro

    modules = [module.name for module in pkgutil.walk_packages(flag_kedro.__path__, "flag_kedro.")]
    for name in (*PRELOADED, *(name for name in modules if name not in NOT_PRELOADED)):
        importlib.import_module(name)
    warm_up()
    gc.collect()
    gc.freeze()


def warm_up() -> None:
    """Do once what each command would do again: hash the code, load a figure's classes, name the modules' files."""
    import plotly.io

    from flag_kedro.pipelines.training.plot import PANELS, plot_training
    from flag_kedro.ppo.runtime import versions

    versions()
    row = {"step": 1.0} | {metric: 1.0 for panel in PANELS.values() for metric in panel}
    plotly.io.to_html(plot_training([row], [{}]), include_plotlyjs=False)
    inspect.stack()


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
        asked = json.loads(line)
        if "arguments" in asked:
            answer: int | None = os.fork()
            if not answer:
                os.close(answers)
                become(asked)
                return True
        else:
            pid, status = os.waitpid(asked["wait"], 0) if "wait" in asked else os.waitpid(asked["ended"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        os.write(answers, f"{json.dumps(answer)}\n".encode())
    return False


if __name__ == "__main__" and wait_for_command():
    runpy.run_module("kedro", run_name="__main__", alter_sys=True)
