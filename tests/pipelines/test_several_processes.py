"""`kedro run` with several training processes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
NUM_UPDATES = 16
TWO = f"ppo.num_processes=2,ppo.total_timesteps={NUM_UPDATES * 128},ppo.checkpoint_interval=1000,ppo.kl_coef=0.1"


def checkpoints(data_dir: Path) -> list[str]:
    return sorted(path.name for path in (data_dir / "06_models" / "checkpoints").glob("*/update-*"))


def interrupt(data_dir: Path, params: str) -> str:
    """Errors of a run that is told to stop after its second update."""
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{data_dir / 'mlflow.db'}",
        "MLFLOW_ARTIFACT_LOCATION": str(data_dir / "mlartifacts"),
        "TMPDIR": str(data_dir),  # the job's folder is there
    }
    command = [sys.executable, "-m", "kedro", "run", "--pipelines=train", f"--params=data_dir={data_dir},{params}"]
    child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while len([row for path in data_dir.glob("*/metrics.jsonl") for row in path.read_text().splitlines()]) < 2:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    family = psutil.Process(child.pid).children(recursive=True)
    assert len(family) == 3  # torchrun and two workers
    child.terminate()
    _, errors = child.communicate(timeout=60)
    assert child.returncode not in (0, None)
    assert not any(process.is_running() for process in family)
    assert list(data_dir.glob("flag_kedro-*")) == []
    return errors.decode()


@pytest.mark.slow
def test_stopped_by_a_signal_two_processes_save_their_state_and_go_on_to_the_same_bits(
    small_run: str, kedro, tmp_path: Path
):
    params = f"{small_run},{TWO}"
    kedro("run", "--pipelines=train", data_dir=tmp_path / "whole", params=params)
    (tmp_path / "stopped").mkdir()
    errors = interrupt(tmp_path / "stopped", params)
    assert "stopped by SIGTERM" in errors
    (saved,) = checkpoints(tmp_path / "stopped")  # none was due: it was written when the run was stopped
    assert "update-00000002" <= saved < f"update-{NUM_UPDATES:08d}"
    kedro("run", "--pipelines=training", data_dir=tmp_path / "stopped", params=params)
    folders = [tmp_path / name for name in ("whole", "stopped")]
    histories = [json.loads((folder / "08_reporting" / "training_history.json").read_text()) for folder in folders]
    assert len(histories[0]) == NUM_UPDATES
    assert histories[0] == histories[1]
    for name in ("adapter_model.safetensors", "heads.safetensors"):
        assert len({(folder / "06_models" / "policy" / name).read_bytes() for folder in folders}) == 1
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'stopped' / 'mlflow.db'}")
    (experiment,) = [found for found in client.search_experiments() if found.name == "flag_kedro"]
    resumed, stopped = client.search_runs([experiment.experiment_id])
    assert stopped.info.status == "FAILED"
    assert resumed.data.tags["resumed_from"] == stopped.info.run_id
    assert len(client.get_metric_history(resumed.info.run_id, "ppo/entropy")) == NUM_UPDATES
