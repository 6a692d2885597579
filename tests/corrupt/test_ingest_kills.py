"""Ingest killed at random moments: the next run completes it, nothing is doubled, nothing is half-written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from corrupt_inputs import articles
from test_corrupt_inputs import as_parameters

HERE = Path(__file__).resolve().parent


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".run.lock"
    }


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_ingest_killed_at_random_moments_ends_as_if_nothing_had_happened(tmp_path: Path, kills: int):
    source = tmp_path / "source"
    source.mkdir()
    params = as_parameters(articles(source, "ACME,2020-11-25T15:00:00Z,Acme closes a shop"))
    data_dir = tmp_path / "data"
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}
    command = [
        sys.executable,
        str(HERE / "ingest_under_fire.py"),
        yaml.safe_dump(params),
        str(data_dir),
        str(kills),
        "0",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) == kills
    assert files_in(data_dir) == files_in(tmp_path / "data-undisturbed")
