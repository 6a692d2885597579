"""Whole commands with a tracking server that dies on the way, and in folders where nothing was made yet."""

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from kedro_server import KedroServer, StartedCommand
from tracking_server import TrackingServer, serving

Kedro = Callable[..., "subprocess.CompletedProcess[str]"]
StartKedro = Callable[..., AbstractContextManager[StartedCommand]]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["hang", "refuse"])
def test_a_training_outlives_its_server_and_one_command_tells_it_all(
    small_run: str, kedro: Kedro, untrained_run: Path, mode: str
):
    with serving() as server:
        server.turn(mode, after="runs/log-batch", times=100)
        lost = kedro(
            "run", "--pipelines=training", data_dir=untrained_run, params=small_run, environment=tracking(server)
        )
        assert "MLflow does not answer" in lost.stdout
        command = f"kedro run --pipelines=upload --params=data_dir={untrained_run}"
        assert f"  {command}\n" in lost.stderr
        (run_id,) = server.runs
        assert server.runs[run_id]["info"]["status"] == "RUNNING"
        server.answer()
        kedro("run", "--pipelines=upload", data_dir=untrained_run, environment=tracking(server))
        run = server.runs[run_id]
        assert run["info"]["status"] == "FINISHED"
        assert run["info"]["run_name"].startswith("train ALDR+1 seed 0")
        assert run["params"]["ppo.total_timesteps"] == "512"
        assert [step for step, _ in server.metrics(run_id)["ppo/policy_loss"]] == [128, 256, 384, 512]
        assert f"--params=data_dir={untrained_run}" in run["tags"]["kedro_command"].replace("'", "")
        assert f"1/{run_id}/artifacts/policy/policy.json" in server.files
        assert f"1/{run_id}/artifacts/reports/training_history.json" in server.files
        assert not (untrained_run / "08_reporting" / "unsent").exists()


def test_ctrl_c_ends_a_training_within_seconds_while_the_server_hangs(
    small_run: str, start_kedro: StartKedro, untrained_run: Path
):
    params = f"{small_run},ppo.total_timesteps=1000000"
    with serving() as server:
        server.turn("hang", after="runs/log-batch", times=150)
        arguments = ("run", "--pipelines=training")
        with start_kedro(*arguments, data_dir=untrained_run, params=params, environment=tracking(server)) as training:
            training.wait_until(lambda: server.mode == "hang")
            training.send_signal(signal.SIGINT)
            begun = time.monotonic()
            assert training.wait(60) != 0
            assert time.monotonic() - begun < 10.0
            assert "stopped by SIGINT" in training.output()


def test_a_server_that_is_down_at_the_start_is_a_message(small_run: str, kedro: Kedro, tmp_path: Path):
    with serving() as server:
        pass
    done = kedro("run", data_dir=tmp_path, params=small_run, check=False, environment=tracking(server))
    assert done.returncode != 0
    assert f"TrackingError: MLflow does not answer at {server.address}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("pipeline", ["training", "backtest"])
def test_an_empty_folder_is_told_to_train_first(kedro: Kedro, tmp_path: Path, pipeline: str):
    done = kedro("run", f"--pipelines={pipeline}", data_dir=tmp_path, params="seed=3", check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert f"Run train first:\n  kedro run --pipelines=train --params=data_dir={tmp_path},seed=3" in done.stderr


@pytest.mark.parametrize(("pipeline", "change"), [("backtest", "env.cost_bps=0"), ("training", "data.symbols=ALDR")])
def test_the_command_that_an_error_shows_gets_further(
    small_run: str, kedro: Kedro, kedro_server: KedroServer, copied_run: Path, pipeline: str, change: str
):
    params = f"{small_run},{change}"
    done = kedro("run", f"--pipelines={pipeline}", data_dir=copied_run, params=params, check=False)
    assert done.returncode != 0
    command = done.stderr.partition("With the parameters it was made with:\n  ")[2].splitlines()[0]
    assert command.startswith(f"kedro run --pipelines={pipeline}")
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{copied_run / 'mlflow.db'}"}
    assert kedro_server.run(shlex.split(command)[1:], environment).returncode == 0


def tracking(server: TrackingServer) -> dict[str, str]:
    return {"MLFLOW_TRACKING_URI": server.address, "MLFLOW_HTTP_REQUEST_TIMEOUT": "3"}
