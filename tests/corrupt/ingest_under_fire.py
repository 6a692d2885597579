"""Run ingest again and again, kill -9 each run at a random moment, until enough were killed; then run it to the end.

A process of its own, because it forks: everything is imported once, and each run starts in milliseconds.
Usage: ingest_under_fire.py PARAMS DATA_DIR KILLS SEED; prints how many runs were killed.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import yaml
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

import flag_kedro.datasets.atomic
import flag_kedro.pipeline_registry
import flag_kedro.settings

ROOT = Path(__file__).resolve().parents[2]


def ingest(params: dict[str, object]) -> None:
    with KedroSession.create(project_path=ROOT, runtime_params=params) as session:
        session.run(pipeline_names=["ingest"])


def start(params: dict[str, object]) -> int:
    """Process id of an ingest in a fork."""
    child = os.fork()
    if child:
        return child
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    ingest(params)
    os._exit(0)


def main() -> None:
    params = yaml.safe_load(sys.argv[1]) | {"data_dir": sys.argv[2]}
    kills, rng = int(sys.argv[3]), random.Random(int(sys.argv[4]))
    bootstrap_project(ROOT)
    began = time.perf_counter()
    first = start(params | {"data_dir": f"{sys.argv[2]}-undisturbed"})
    assert os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) == 0
    whole = time.perf_counter() - began
    killed = tries = 0
    while killed < kills and tries < 5 * kills:
        tries += 1
        began, child = time.perf_counter(), start(params)
        time.sleep(rng.uniform(0.0, whole))
        os.kill(child, signal.SIGKILL)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL:
            killed += 1
        else:  # it had ended: the machine is faster now
            whole = min(whole, time.perf_counter() - began)
    last = start(params)
    assert os.waitstatus_to_exitcode(os.waitpid(last, 0)[1]) == 0
    print(f"killed {killed}")  # noqa: T201


assert flag_kedro.settings
assert flag_kedro.pipeline_registry
assert flag_kedro.datasets.atomic  # imported once, before the first fork
main()
