"""The main job with `--env=cluster`: S3 by moto's server, MLflow in PostgreSQL; and machines that vanish."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen
from uuid import uuid4

import mlflow
import pytest

import postgres_server
from bucket_server import CREDENTIALS, Buckets
from kedro_server import StartedCommand

Kedro = Callable[..., "subprocess.CompletedProcess[str]"]
StartKedro = Callable[..., AbstractContextManager[StartedCommand]]
QUICK_LEASE = "store.lease_seconds=1,store.sync_seconds=0.1"
KILLS = 20
TIMED = ("wall_times", "ingest_facts", "report_facts", "backtest_report", "model_card", "data_report")
"""Files that tell times, or what tells of them."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """Address of a database of PostgreSQL that nobody has used."""
    if postgres_server.programs() is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    pytest.importorskip("psycopg2", reason="PostgreSQL needs pip install 'flag_kedro[cluster]'")
    with postgres_server.serving() as address:
        yield address


@pytest.fixture
def cluster(buckets: Buckets, database: str) -> dict[str, str]:
    """Variables that `conf/cluster` reads, for empty buckets."""
    return {
        **buckets.environment,
        "FLAG_KEDRO_STORE": f"{buckets.make(uuid4().hex)}/flag",
        "MLFLOW_TRACKING_URI": database,
        "MLFLOW_ARTIFACT_LOCATION": f"{buckets.make(uuid4().hex)}/runs",
    }


def manifest(buckets: Buckets, cluster: Mapping[str, str]) -> dict[str, list[object]]:
    """Files of the store, by path; none where there is no store yet."""
    client = buckets.client()
    with contextlib.suppress(client.exceptions.NoSuchKey):
        bucket = cluster["FLAG_KEDRO_STORE"].split("/")[2]
        return dict(json.loads(client.get_object(Bucket=bucket, Key="flag/MANIFEST.json")["Body"].read())["files"])
    return {}


def newest_update(files: Mapping[str, object]) -> int:
    updates = [part for path in files for part in path.split("/") if part.startswith("update-")]
    return max((int(update.removeprefix("update-")) for update in updates), default=0)


def untimed(files: Mapping[str, list[object]]) -> dict[str, list[object]]:
    """Files and their hashes, without those that differ between two equal runs."""
    return {path: entry for path, entry in files.items() if not any(name in path for name in TIMED)}


def test_two_first_runs_at_once_make_one_database(database: str) -> None:
    code = "import sys; from flag_kedro.tracking.opening import open_store; open_store(sys.argv[1], 'twice', None)"
    address = database.replace("postgresql://", "postgresql+psycopg2://")
    with ThreadPoolExecutor(3) as pool:
        started = [
            pool.submit(subprocess.run, [sys.executable, "-c", code, address], capture_output=True, text=True)
            for _ in range(3)
        ]
        for each in started:
            assert each.result().returncode == 0, each.result().stderr


def test_the_main_job_on_s3_and_postgresql_is_the_job_on_this_machine(
    kedro: Kedro, buckets: Buckets, cluster: dict[str, str], small_run: str, finished_run: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    done = kedro("run", "--env=cluster", data_dir=tmp_path, params=small_run, environment=cluster)
    for place in ("06_models/policy", "04_feature/market_states"):
        for file in (path for path in (finished_run / place).rglob("*") if path.is_file()):
            assert (tmp_path / file.relative_to(finished_run)).read_bytes() == file.read_bytes(), file
    for name in ("02_intermediate/prices.parquet", "07_model_output/decisions.parquet"):
        assert (tmp_path / name).read_bytes() == (finished_run / name).read_bytes(), name
    files = manifest(buckets, cluster)
    assert {"06_models/policy/MANIFEST.json", "08_reporting/backtest_report.html", "profile.json"} <= files.keys()
    for name, value in cluster.items():
        monkeypatch.setenv(name, value)
    address = cluster["MLFLOW_TRACKING_URI"].replace("postgresql://", "postgresql+psycopg2://")
    client = mlflow.MlflowClient(address)
    experiment = client.get_experiment_by_name("flag_kedro")
    (run,) = [
        run
        for run in client.search_runs([experiment.experiment_id])
        if run.data.tags.get("flag.store") == cluster["FLAG_KEDRO_STORE"]
    ]
    assert run.info.status == "FINISHED"
    assert run.info.artifact_uri.startswith("s3://")
    assert len(client.get_metric_history(run.info.run_id, "ppo/loss")) == 4
    bucket = run.info.artifact_uri.split("/")[2]
    assert any(key.endswith("reports/backtest_report.html") for key in buckets.keys(bucket))
    told = done.stdout + done.stderr + json.dumps(run.to_dictionary(), default=str)
    told += Path(client.download_artifacts(run.info.run_id, "parameters.json")).read_text()
    assert postgres_server.PASSWORD not in told
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in told
    with _ui(cluster) as address:
        shown = _ask(f"{address}/ajax-api/2.0/mlflow/runs/get?run_id={run.info.run_id}")
        assert json.loads(shown)["run"]["info"]["status"] == "FINISHED"
        page = _ask(f"{address}/get-artifact?path=reports/backtest_report.html&run_uuid={run.info.run_id}")
        assert page == (tmp_path / "08_reporting" / "backtest_report.html").read_bytes()


def test_twenty_machines_that_vanish_lose_nothing(
    start_kedro: StartKedro, kedro: Kedro, buckets: Buckets, cluster: dict[str, str], small_run: str, tmp_path: Path
):
    """Each is killed without grace at any moment and its disk is gone; what the store has is never less than before."""
    params = f"{small_run},{QUICK_LEASE}"
    elsewhere = cluster | {"FLAG_KEDRO_STORE": f"{cluster['FLAG_KEDRO_STORE']}-whole"}
    began = time.monotonic()
    whole = kedro("run", "--env=cluster", data_dir=tmp_path / "whole", params=params, environment=elsewhere)
    seconds = time.monotonic() - began
    assert whole.returncode == 0
    rng, kills, machine, resumed, finished = random.Random(0), 0, 0, 0, 0
    known: dict[str, list[object]] = {}
    while kills < KILLS:
        machine += 1
        data_dir = tmp_path / f"machine-{machine}"
        with start_kedro("run", "--env=cluster", data_dir=data_dir, params=params, environment=cluster) as command:
            end = time.monotonic() + rng.uniform(0.1, 1.1) * seconds
            while command.poll() is None and time.monotonic() < end:
                time.sleep(0.01)
            command.send_signal(signal.SIGKILL)
            status, output = command.wait(), command.output()
        assert status in (0, -signal.SIGKILL), output
        shutil.rmtree(data_dir)
        kills, finished = kills + (status != 0), finished + (status == 0)
        resumed += "going on after update" in output
        files = manifest(buckets, cluster)
        lost = {path for path in known if "checkpoints" not in path} - files.keys()
        assert not lost
        has_policy = "06_models/policy/MANIFEST.json" in files  # of a training that finished: its checkpoints are gone
        assert newest_update(files) >= newest_update(known) or has_policy
        known = files
    kedro("run", "--env=cluster", data_dir=tmp_path / "last", params=params, environment=cluster)
    ends = [manifest(buckets, where) for where in (cluster, elsewhere)]
    assert untimed(ends[0]) == untimed(ends[1])
    print(f"{kills} kills, {resumed} went on after a checkpoint, {finished} finished in between")  # noqa: T201
    assert resumed >= 3


@contextlib.contextmanager
def _ui(cluster: Mapping[str, str]) -> Iterator[str]:
    """`kedro mlflow ui --env=cluster`, which answers at the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "kedro", "mlflow", "ui", "--env=cluster", f"--port={port}"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where kedro-mlflow looks for mlflow
    environment = os.environ | dict(cluster) | {"PATH": path}
    process = subprocess.Popen(command, cwd=root, env=environment, start_new_session=True)
    try:
        address, end = f"http://127.0.0.1:{port}", time.monotonic() + 180
        while True:
            try:
                _ask(f"{address}/health")
                break
            except (URLError, ConnectionError):
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.5)
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _ask(url: str) -> bytes:
    with urlopen(Request(url), timeout=30) as answer:
        return bytes(answer.read())
