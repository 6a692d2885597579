"""Ingest killed at random moments: the next run completes it, nothing is doubled, nothing is half-written."""

import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from corrupt_inputs import articles

from kedro_server import StartedCommand

Kedro = Callable[..., "subprocess.CompletedProcess[str]"]
StartKedro = Callable[..., AbstractContextManager[StartedCommand]]
INGEST = "run", "--pipelines=ingest"


def files_in(folder: Path) -> dict[str, bytes]:
    """All but the lock and MLflow's store."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".run.lock" and not path.name.startswith("mlflow.db")
    }


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_ingest_killed_at_random_moments_ends_as_if_nothing_had_happened(
    kedro: Kedro, start_kedro: StartKedro, tmp_path: Path, kills: int
):
    source, data_dir, undisturbed = (tmp_path / name for name in ("source", "data", "undisturbed"))
    source.mkdir()
    params = articles(source, "ACME,2020-11-25T15:00:00Z,Acme closes a shop")
    began = time.perf_counter()
    kedro(*INGEST, data_dir=undisturbed, params=params)
    whole = time.perf_counter() - began
    rng, killed, tries = random.Random(0), 0, 0
    while killed < kills and tries < 5 * kills:
        tries += 1
        began = time.perf_counter()
        with start_kedro(*INGEST, data_dir=data_dir, params=params) as ingest:
            time.sleep(rng.uniform(0.0, whole))
            ingest.send_signal(signal.SIGKILL)
            if ingest.wait() == -signal.SIGKILL:
                killed += 1
            else:  # it had ended: the machine is faster now
                whole = min(whole, time.perf_counter() - began)
    kedro(*INGEST, data_dir=data_dir, params=params)
    assert killed == kills
    assert files_in(data_dir) == files_in(undisturbed) != {}
