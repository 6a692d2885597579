"""A cluster of two nodes on this machine gives the files of one process, also where a node or the command dies."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

import rolls
from rolls import LOCAL, RAY, roll

pytestmark = pytest.mark.slow
pytest.importorskip("ray", reason="needs flag_kedro[ray]")
NUM_TRAININGS = 8
COMMAND = [sys.executable, rolls.__file__]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, bytes]]:
    """Four folds with two seeds, one training after another: results and rows."""
    folder = tmp_path_factory.mktemp("local")
    results = roll(folder, LOCAL)
    assert len(rolls.rows(folder)) == NUM_TRAININGS
    return results, rolls.rows(folder)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU each."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    started = Cluster(initialize_head=True, head_node_args=node)
    started.add_node(**{name: value for name, value in node.items() if name != "include_dashboard"})
    started.wait_for_nodes()
    yield started
    started.shutdown()


def trainings_of(node: Any) -> list[str]:
    """Names of the trainings that a node is at."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    titles = []
    for child in raylet.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            titles.append(" ".join(child.cmdline()))
    return [title for title in titles if title.startswith("ray::fold")]


def wait_for(condition: Callable[[], Any], seconds: float = 900.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_two_nodes_write_the_files_of_one_process(local: tuple[str, dict[str, bytes]], cluster: Any, tmp_path: Path):
    used: set[str] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            used.update(str(node.node_id) for node in cluster.list_all_nodes() if trainings_of(node))

    watching = threading.Thread(target=watch)
    watching.start()
    results = roll(tmp_path, replace(RAY, ray_address=cluster.address))
    done.set()
    watching.join()
    assert len(used) == 2
    assert results == local[0]
    assert rolls.rows(tmp_path) == local[1]
    assert not list(tmp_path.rglob(".seen-by-*"))


def test_a_node_that_dies_in_the_middle_changes_nothing(
    local: tuple[str, dict[str, bytes]], cluster: Any, tmp_path: Path
):
    (victim,) = cluster.worker_nodes
    killed: list[tuple[list[str], int]] = []

    def kill() -> None:
        wait_for(lambda: len(rolls.rows(tmp_path)) >= 2 and trainings_of(victim))
        killed.append((trainings_of(victim), len(rolls.rows(tmp_path))))
        cluster.remove_node(victim, allow_graceful=False)

    killing = threading.Thread(target=kill)
    killing.start()
    results = roll(tmp_path, replace(RAY, ray_address=cluster.address))
    killing.join()
    ((names, num_rows),) = killed
    assert names
    assert 2 <= num_rows < NUM_TRAININGS
    assert results == local[0]
    assert rolls.rows(tmp_path) == local[1]


def test_a_killed_command_leaves_no_process_and_finds_its_rows_again(
    local: tuple[str, dict[str, bytes]], tmp_path: Path
):
    command = subprocess.Popen([*COMMAND, str(tmp_path), json.dumps(asdict(RAY))], stdout=subprocess.PIPE)
    wait_for(lambda: len(rolls.rows(tmp_path)) >= 3 or command.poll() is not None)
    started = psutil.Process(command.pid).children(recursive=True)
    assert any("raylet" in process.name() for process in started)
    command.send_signal(signal.SIGKILL)
    command.wait()
    _, alive = psutil.wait_procs(started, timeout=240)  # Ray's agents look for their cluster for a minute
    assert alive == []
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").glob("*/?-?.json")}
    assert 3 <= len(before) < NUM_TRAININGS
    assert roll(tmp_path, RAY) == local[0]
    assert before.items() <= {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").glob("*/?-?.json")}.items()
    assert rolls.rows(tmp_path) == local[1]


def test_a_command_stopped_by_a_signal_ends_its_workers(tmp_path: Path):
    command = subprocess.Popen([*COMMAND, str(tmp_path), json.dumps(asdict(RAY))], stderr=subprocess.DEVNULL)
    wait_for(lambda: len(rolls.rows(tmp_path)) >= 1 or command.poll() is not None)
    started = psutil.Process(command.pid).children(recursive=True)
    command.send_signal(signal.SIGINT)
    assert command.wait(timeout=60) != 0
    _, alive = psutil.wait_procs(started, timeout=60)
    assert alive == []
