"""`kedro run --env=cluster`: data on S3, so that any machine goes on where another vanished."""

import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from uuid import uuid4

import pytest

from bucket_server import Buckets
from kedro_server import StartedCommand

Kedro = Callable[..., "subprocess.CompletedProcess[str]"]
StartKedro = Callable[..., AbstractContextManager[StartedCommand]]
QUICK_LEASE = "store.lease_seconds=1,store.sync_seconds=0.1"


@pytest.fixture
def cluster(buckets: Buckets) -> dict[str, str]:
    """Variables that `conf/cluster` reads, for an empty bucket."""
    return {**buckets.environment, "FLAG_KEDRO_STORE": f"{buckets.make(uuid4().hex)}/flag"}


def manifest(buckets: Buckets, cluster: Mapping[str, str]) -> dict[str, list[object]]:
    """Files of the store, by path."""
    bucket = cluster["FLAG_KEDRO_STORE"].split("/")[2]
    body = buckets.client().get_object(Bucket=bucket, Key="flag/MANIFEST.json")["Body"].read()
    return dict(json.loads(body)["files"])


def outcome(data_dir: Path) -> tuple[str, list[dict[str, float]]]:
    """The bundle's hashes and the training history."""
    text = (data_dir / "06_models" / "policy" / "MANIFEST.json").read_text()
    return text, json.loads((data_dir / "08_reporting" / "training_history.json").read_text())


def test_what_a_run_makes_lies_in_the_store(
    kedro: Kedro, buckets: Buckets, cluster: dict[str, str], small_run: str, tmp_path: Path
):
    params = f"{small_run},{QUICK_LEASE}"
    kedro("run", "--env=cluster", "--pipelines=ingest,features", data_dir=tmp_path, params=params, environment=cluster)
    assert {"02_intermediate/prices.parquet", "04_feature/market_states/ALDR.parquet"} <= manifest(
        buckets, cluster
    ).keys()


@pytest.mark.slow
def test_a_training_goes_on_on_another_machine_when_one_vanishes(
    kedro: Kedro, start_kedro: StartKedro, buckets: Buckets, cluster: dict[str, str], small_run: str,
    finished_run: Path, tmp_path: Path,
):  # fmt: skip
    params = f"{small_run},{QUICK_LEASE}"
    one, two, three = tmp_path / "one", tmp_path / "two", tmp_path / "three"
    kedro("run", "--env=cluster", "--pipelines=ingest,features", data_dir=one, params=params, environment=cluster)
    shutil.rmtree(one)
    training = "run", "--env=cluster", "--pipelines=training"
    with start_kedro(*training, data_dir=two, params=params, environment=cluster) as command:
        command.wait_until(lambda: any("update-00000002" in path for path in manifest(buckets, cluster)))
        command.send_signal(signal.SIGKILL)
        assert command.wait() == -signal.SIGKILL
    shutil.rmtree(two)
    again = kedro(*training, data_dir=three, params=params, environment=cluster)
    output = " ".join((again.stdout + again.stderr).split())
    assert "going on after update" in output
    assert "is gone; it is taken over" in output
    assert outcome(three) == outcome(finished_run)
    assert not [path for path in manifest(buckets, cluster) if "checkpoints" in path]
