"""The reports that doubt a trained policy, as commands on the folder of a finished run."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from flag_kedro.features.ablation import ABLATIONS

Kedro = Callable[..., "subprocess.CompletedProcess[str]"]


def newest_run(data_dir: Path) -> mlflow.entities.Run:
    client = mlflow.MlflowClient(f"sqlite:///{data_dir / 'mlflow.db'}")
    return client.search_runs([client.get_experiment_by_name("flag_kedro").experiment_id])[0]


def test_contamination_reports_knowledge_recall_and_every_ablation(copied_run: Path, small_run: str, kedro: Kedro):
    done = kedro("run", "--pipelines=contamination", data_dir=copied_run, params=small_run)
    report = json.loads((copied_run / "08_reporting" / "contamination.json").read_text())
    windows = report["knowledge"]["windows"]
    assert {name: row["verdict"] for name, row in windows.items()} == dict.fromkeys(
        ("train", "validation", "test"), "unseen"
    )
    assert report["memorisation"]["applicable"] is False  # tiny has no language-model head
    ablations = report["modalities"]["ablations"]
    assert list(ablations) == list(ABLATIONS)
    metrics = json.loads((copied_run / "08_reporting" / "backtest_metrics.json").read_text())["results"]
    earned = sum(rows["flag_trader"]["cumulative_return"] for rows in metrics.values())
    assert ablations["none"]["log_return"] == pytest.approx(earned, abs=1e-12)
    assert ablations["none"]["agreement"] == 1.0
    for name in (*ABLATIONS, "not applicable", "simulated"):
        assert name in done.stdout
    logged = newest_run(copied_run)
    assert logged.info.run_name.startswith("contamination ALDR+1 seed 0")
    assert logged.data.metrics["contamination/none/log_return"] == pytest.approx(earned, abs=1e-12)
    assert {f"contamination/{name}/agreement" for name in ABLATIONS} <= logged.data.metrics.keys()


@pytest.mark.slow
def test_robustness_tries_every_headline_and_the_second_run_gives_the_same_bytes(
    copied_run: Path, small_run: str, kedro: Kedro
):
    done = kedro("run", "--pipelines=robustness", data_dir=copied_run, params=small_run)
    path = copied_run / "08_reporting" / "robustness.json"
    before = path.read_bytes()
    report = json.loads(before)
    assert report["num_headlines"] == 200
    assert report["passed"]
    assert "homoglyphs" in done.stdout
    metrics = newest_run(copied_run).data.metrics
    assert (metrics["robustness/passed"], metrics["robustness/violations"]) == (1.0, 0.0)
    assert metrics["robustness/hostile/flip_rate"] == report["all"]["hostile"]["flip_rate"]
    kedro("run", "--pipelines=robustness", data_dir=copied_run, params=small_run)
    assert path.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", ["contamination", "robustness"])
def test_policy_trained_on_something_else_is_refused(copied_run: Path, small_run: str, kedro: Kedro, pipeline: str):
    params = f"{small_run},env.cost_bps=0"
    done = kedro("run", f"--pipelines={pipeline}", data_dir=copied_run, params=params, check=False)
    assert done.returncode != 0
    assert "env: trained on" in done.stderr
    assert not (copied_run / "08_reporting" / f"{pipeline}.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in ABLATIONS if kind != "none"])
def test_policy_trains_and_is_judged_on_ablated_states(tmp_path: Path, small_run: str, kedro: Kedro, kind: str):
    params = f"{small_run},features.ablation={kind}"
    kedro("run", data_dir=tmp_path, params=params)
    assert json.loads((tmp_path / "08_reporting" / "causality_audit.json").read_text())["passed"]
    kedro("run", "--pipelines=contamination", data_dir=tmp_path, params=params)
    modalities = json.loads((tmp_path / "08_reporting" / "contamination.json").read_text())["modalities"]
    assert modalities["reference"] == kind
    assert modalities["ablations"][kind]["agreement"] == 1.0
    if kind in ("no_news", "shuffle_news"):
        done = kedro("run", "--pipelines=robustness", data_dir=tmp_path, params=params, check=False)
        assert "does not read headlines" in done.stderr


@pytest.mark.slow
def test_a_policy_of_news_events_is_replayed_without_news_at_the_same_events(
    tmp_path: Path, small_run: str, kedro: Kedro
):
    params = f"{small_run},env.decide_on=events"
    for command in (("run",), ("run", "--pipelines=contamination")):
        kedro(*command, data_dir=tmp_path, params=params)
    ablations = json.loads((tmp_path / "08_reporting" / "contamination.json").read_text())["modalities"]["ablations"]
    assert list(ablations) == list(ABLATIONS)
    assert ablations["none"]["agreement"] == 1.0
