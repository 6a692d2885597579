"""A complete `kedro run`, as a user makes it: contracts of its files, its MLflow run, its failures."""

import html
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import mlflow
import plotly.io
import polars as pl
import pytest
from filelock import FileLock

from flag_kedro.pipelines.training.plot import PANELS
from kedro_server import StartedCommand, as_parameters

ROOT = Path(__file__).resolve().parents[2]
Kedro = Callable[..., "subprocess.CompletedProcess[str]"]
StartKedro = Callable[..., AbstractContextManager[StartedCommand]]
STRATEGIES = [
    "flag_trader",
    "buy_and_hold",
    "flat",
    "sticky_random",
    "momentum",
    "mean_reversion",
    "untrained_lm",
    "text_ridge",
    "text_linear_ppo",
]


def client(data_dir: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{data_dir / 'mlflow.db'}")


def runs(data_dir: Path) -> list[mlflow.entities.Run]:
    store = client(data_dir)
    experiment = store.get_experiment_by_name("flag_kedro")
    return list(store.search_runs([experiment.experiment_id])) if experiment else []


def test_tables_have_the_promised_columns(finished_run: Path):
    expected = {
        "02_intermediate/prices.parquet": "symbol session open high low close volume adj_close available_at",
        "02_intermediate/news.parquet": "symbol published_at available_at headline body source url",
        "07_model_output/decisions.parquet": (
            "strategy symbol session action prob_sell prob_hold prob_buy value position"
        ),
        "07_model_output/equity.parquet": ("strategy symbol session equity position log_return traded_value exposure"),
    }
    for name, columns in expected.items():
        assert pl.read_parquet(finished_run / name).columns == columns.split(), name


def test_every_symbol_has_one_table_of_states(finished_run: Path):
    files = sorted(path.name for path in (finished_run / "04_feature" / "market_states").iterdir())
    assert files == ["ALDR.parquet", "BRIX.parquet", "fingerprints.json"]


def test_metrics_hold_every_symbol_strategy_and_both_conventions(finished_run: Path):
    metrics = json.loads((finished_run / "08_reporting" / "backtest_metrics.json").read_text())
    assert metrics["convention"]["name"] == "account"
    assert metrics["other_convention"]["convention"]["name"] == "investorbench"
    for results in (metrics["results"], metrics["other_convention"]["results"]):
        assert list(results) == ["ALDR", "BRIX"]
        for strategies in results.values():
            assert list(strategies) == STRATEGIES
            assert strategies["buy_and_hold"]["num_days"] == strategies["flag_trader"]["num_prices"] - 1


def test_decisions_and_equity_cover_the_same_sessions(finished_run: Path):
    decisions = pl.read_parquet(finished_run / "07_model_output" / "decisions.parquet")
    equity = pl.read_parquet(finished_run / "07_model_output" / "equity.parquet")
    keys = ["strategy", "symbol", "session"]
    assert decisions.select(keys).sort(keys).equals(equity.select(keys).sort(keys))


def test_scores_can_be_recomputed_from_the_equity_table(finished_run: Path):
    metrics = json.loads((finished_run / "08_reporting" / "backtest_metrics.json").read_text())
    equity = pl.read_parquet(finished_run / "07_model_output" / "equity.parquet")
    sums = equity.group_by("symbol", "strategy").agg(pl.col("log_return").sum()).rows()
    for symbol, strategy, total in sums:
        found = metrics["results"][symbol][strategy]["cumulative_return"]
        assert found == pytest.approx(total, rel=1e-9, abs=1e-12)


def test_plots_open_in_plotly_and_equity_shows_every_strategy(finished_run: Path):
    reports = finished_run / "08_reporting"
    names = ["equity", "drawdown", "rolling_sharpe", "interval", "cost_curve", "trades", "probabilities"]
    figures = {path.stem: plotly.io.read_json(path) for name in names for path in reports.glob(f"{name}*.json")}
    assert len(figures) == len(names)
    assert {trace.name for trace in figures["equity"].data} == set(STRATEGIES)


def test_training_plot_has_every_diagnostic_of_every_update_and_its_wall_times(finished_run: Path):
    reports = finished_run / "08_reporting"
    figure = plotly.io.read_json(reports / "training_plot.json")
    history, times = (json.loads((reports / f"training_{name}.json").read_text()) for name in ("history", "wall_times"))
    assert {panel.text for panel in figure.layout.annotations} == set(PANELS)
    updates = [row | own for row, own in zip(history, times, strict=True)]
    expected = [[row[metric] for row in updates if metric in row] for panel in PANELS.values() for metric in panel]
    assert [list(trace.y) for trace in figure.data] == expected
    assert all(trace.y for trace in figure.data)
    assert all(seconds > 0 for row in times for seconds in row.values())


def test_every_metric_has_an_interval_that_holds_it(finished_run: Path):
    metrics = json.loads((finished_run / "08_reporting" / "backtest_metrics.json").read_text())
    low, high = metrics["results"]["ALDR"]["buy_and_hold"]["sharpe_ratio_ci95"]
    assert low < metrics["results"]["ALDR"]["buy_and_hold"]["sharpe_ratio"] < high


def test_policy_is_tested_against_buy_and_hold_on_every_symbol(finished_run: Path):
    inference = json.loads((finished_run / "08_reporting" / "backtest_inference.json").read_text())
    assert inference["num_trials"] == 1
    for strategies in inference["symbols"].values():
        assert list(strategies) == [name for name in STRATEGIES if name != "buy_and_hold"]
        assert strategies["flag_trader"]["verdict"].startswith("flag_trader")
        assert 0.0 < strategies["sticky_random"]["sharpe_difference"]["p_value"] <= 1.0
        assert strategies["flat"]["collapse"]["collapsed_to"] == "flat"


def test_cost_curves_fall_with_costs(finished_run: Path):
    sensitivity = json.loads((finished_run / "08_reporting" / "backtest_sensitivity.json").read_text())
    assert (sensitivity["cost_bps"][0], sensitivity["cost_bps"][-1]) == (0.0, 50.0)
    for strategies in sensitivity["symbols"].values():
        curve = strategies["sticky_random"]["cost_curve"]
        assert curve == sorted(curve, reverse=True)
        assert strategies["buy_and_hold"]["capacity"] > 0.0


def test_causality_audit_of_the_run_passed(finished_run: Path):
    audit = json.loads((finished_run / "08_reporting" / "causality_audit.json").read_text())
    assert audit["passed"] is True
    assert all(check["compared"]["decisions"] >= 2 * 2 * len(STRATEGIES) for check in audit["checks"])


def test_report_tells_each_symbols_verdict(finished_run: Path):
    page = (finished_run / "08_reporting" / "backtest_report.html").read_text()
    inference = json.loads((finished_run / "08_reporting" / "backtest_inference.json").read_text())
    for strategies in inference["symbols"].values():
        assert strategies["flag_trader"]["verdict"] in html.unescape(page)


def test_history_has_one_row_per_update(finished_run: Path):
    history = json.loads((finished_run / "08_reporting" / "training_history.json").read_text())
    assert [row["step"] for row in history] == [128.0 * update for update in range(1, 5)]
    assert "env/validation_log_return" in history[1]


def test_summary_shows_the_table_and_what_to_do_next(finished_run: Path):
    output = (finished_run / "output.txt").read_text()
    for text in (
        *STRATEGIES,
        "ALDR",
        "Sharpe",
        "Next",
        "backtest_report.html",
        "nominal",
        "audit passed",
        "kedro mlflow ui",
    ):
        assert text in output


def test_run_is_logged_once_with_parameters_curves_tags_and_artifacts(finished_run: Path):
    (run,) = runs(finished_run)
    assert run.info.status == "FINISHED"
    assert run.data.params["ppo.total_timesteps"] == "512"
    assert run.data.params["env.cost_bps"] == "5.0"
    assert not any("Config(" in value for value in run.data.params.values())
    assert {"git_commit", "data_hash", "policy_hash", "trained", "train_run_id"} <= run.data.tags.keys()
    assert run.data.tags["train_run_id"] == run.info.run_id
    assert "backtest/ALDR/buy_and_hold/sharpe_ratio" in run.data.metrics
    curve = client(finished_run).get_metric_history(run.info.run_id, "ppo/policy_loss")
    assert [point.step for point in curve] == [128 * update for update in range(1, 5)]
    artifacts = {file.path for file in client(finished_run).list_artifacts(run.info.run_id, "policy")}
    assert {"policy/adapter_model.safetensors", "policy/heads.safetensors", "policy/policy.json"} <= artifacts
    reports = {file.path for file in client(finished_run).list_artifacts(run.info.run_id, "reports")}
    names = ["backtest_metrics.json", "backtest_inference.json", "causality_audit.json", "backtest_report.html"]
    assert {f"reports/{name}" for name in names} <= reports
    assert run.data.metrics["backtest/ALDR/flag_trader/num_trials"] == 1.0
    assert run.info.run_name.startswith("run ALDR+1 seed 0 ")
    together = {name for name in run.data.metrics if name.startswith("all/")}
    assert {"all/flag_trader/cumulative_return", "all/buy_and_hold/sharpe_ratio"} <= together
    assert len(together) <= 8
    assert "data.symbols=ALDR BRIX" in run.data.tags["kedro_command"]
    assert {"config_hash", "test_window", "scored"} <= run.data.tags.keys()
    whole = json.loads((Path(run.info.artifact_uri.removeprefix("file://")) / "parameters.json").read_text())
    assert (whole["ppo"]["total_timesteps"], whole["data"]["symbols"]) == (512, "ALDR BRIX")


def test_the_run_names_its_windows_and_the_policy_that_it_kept_with_its_results(finished_run: Path):
    (run,) = runs(finished_run)
    assert {each.tags[0].value for each in run.inputs.dataset_inputs} == {"training", "validation", "testing"}
    (model,) = client(finished_run).search_logged_models([run.info.experiment_id])
    assert model.tags["policy_hash"] == run.data.tags["policy_hash"]
    assert model.source_run_id == run.info.run_id
    metrics = {metric.key: metric for metric in model.metrics}
    inference = json.loads((finished_run / "08_reporting" / "backtest_inference.json").read_text())
    assert metrics["test/brier"].value == inference["calibration"]["flag_trader"]["brier"]
    assert metrics["test/brier"].dataset_name in {each.dataset.name for each in run.inputs.dataset_inputs}
    assert "validation/summed_log_return" in metrics
    card = (finished_run / "08_reporting" / "model_card.md").read_text()
    assert f"Results are of the policy {run.data.tags['policy_hash']}." in card
    assert "## What it did on its test window" in card


TWO_RUNS = """
import json, shutil, signal, sys
from pathlib import Path
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

params, first = json.loads(sys.argv[1]), sys.argv[2]
project = Path.cwd()
bootstrap_project(project)
before = signal.getsignal(signal.SIGINT)
with KedroSession.create(project, runtime_params=params) as session:
    session.run()
shutil.copytree(params["data_dir"], first)
params["backtest"]["bootstrap_draws"] = 300
with KedroSession.create(project, runtime_params=params) as session:
    session.run(pipeline_names=["backtest"])
assert signal.getsignal(signal.SIGINT) is before
"""
"""As in a notebook: all that `kedro run` does, then the backtest alone with other draws, in one process."""


@pytest.fixture(scope="module")
def run_twice(small_run: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of `TWO_RUNS`, a new process in an empty folder: after the first run, and after both."""
    folder = tmp_path_factory.mktemp("twice")
    first, data_dir = folder / "first", folder / "data"
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{data_dir / 'mlflow.db'}",
        "MLFLOW_ARTIFACT_LOCATION": str(data_dir / "mlartifacts"),
    }
    data_dir.mkdir()
    params = as_parameters(small_run) | {"data_dir": str(data_dir)}
    command = [sys.executable, "-c", TWO_RUNS, json.dumps(params), str(first)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return first, data_dir


def without_run_id(path: Path) -> bytes:
    """Content without what the report says of MLflow's run, which no two commands share."""
    return re.sub(rb"<dt>MLflow run</dt><dd>[0-9a-f]{32}</dd>", b"", path.read_bytes())


def test_same_command_in_another_folder_gives_the_same_bytes(finished_run: Path, run_twice: tuple[Path, Path]):
    names = [
        "06_models/policy/MANIFEST.json",  # the hash of every file of the bundle
        "06_models/backbone/MANIFEST.json",
        "08_reporting/training_history.json",
        "06_models/text_baseline/MANIFEST.json",
        "08_reporting/backtest_metrics.json",
        "08_reporting/backtest_inference.json",
        "08_reporting/causality_audit.json",
        "08_reporting/backtest_report.html",
        "07_model_output/decisions.parquet",
    ]
    first, _ = run_twice
    for name in names:
        assert without_run_id(finished_run / name) == without_run_id(first / name), name


def test_backtest_alone_gives_the_same_bytes_and_points_to_its_training(run_twice: tuple[Path, Path]):
    first, both = run_twice
    written = [folder / "07_model_output" / "decisions.parquet" for folder in run_twice]
    assert written[0].read_bytes() == written[1].read_bytes()
    assert written[0].stat().st_mtime_ns < written[1].stat().st_mtime_ns
    (trained,) = runs(first)
    newest = runs(both)[0]
    assert newest.info.run_name.startswith("backtest ALDR+1 seed 0 ")
    assert newest.data.tags["train_run_id"] == trained.info.run_id


def test_two_runs_in_one_process_are_two_finished_mlflow_runs(run_twice: tuple[Path, Path]):
    """The first run must not stay open; that the signals come back, the program itself asserts."""
    found = runs(run_twice[1])
    assert [run.info.status for run in found] == ["FINISHED", "FINISHED"]
    assert [run.data.params["backtest.bootstrap_draws"] for run in found] == ["300", "200"]
    assert all("git_commit" in run.data.tags for run in found)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("env.cost_bps=0", "env: trained on"),
        pytest.param("data.windows.test=2023-11-20 2023-12-15", "windows: trained on", marks=pytest.mark.slow),
    ],
)
def test_backtest_refuses_a_policy_trained_on_something_else(
    small_run: str, kedro: Kedro, copied_run: Path, change: str, named: str
):
    before = (copied_run / "08_reporting" / "backtest_metrics.json").read_bytes()
    params = f"{small_run},{change}"
    done = kedro("run", "--pipelines=backtest", data_dir=copied_run, params=params, check=False)
    assert done.returncode != 0
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert (copied_run / "08_reporting" / "backtest_metrics.json").read_bytes() == before
    assert runs(copied_run)[0].info.status == "FAILED"


def test_second_run_in_a_busy_folder_is_refused(small_run: str, kedro: Kedro, tmp_path: Path):
    with FileLock(tmp_path / ".run.lock"):
        done = kedro("run", "--pipelines=ingest", data_dir=tmp_path, params=small_run, check=False)
    assert done.returncode != 0
    assert "another run is using" in done.stderr
    assert runs(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_interrupted_training_ends_failed_and_leaves_nothing_half_written(
    small_run: str, start_kedro: StartKedro, untrained_run: Path, number: signal.Signals
):
    params = f"{small_run},ppo.total_timesteps=1000000"
    with start_kedro("run", "--pipelines=training", data_dir=untrained_run, params=params) as training:
        training.wait_until(lambda: any((untrained_run / "06_models").glob("checkpoints/*/update-*")))
        training.send_signal(number)
        assert training.wait(60) != 0
        assert f"stopped by {number.name}" in training.output()
    (run,) = runs(untrained_run)
    assert run.info.status == "FAILED"
    assert run.data.tags["flag.error"].startswith("RunInterrupted")
    assert sorted(path.name for path in (untrained_run / "06_models").iterdir()) == ["backbone", "checkpoints"]


def test_symbol_without_data_stops_and_writes_nothing(kedro: Kedro, tmp_path: Path):
    done = kedro("run", data_dir=tmp_path, params="data.symbols=XXXX", check=False)
    assert done.returncode != 0
    assert "data.symbols: no data for XXXX" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "02_intermediate").exists()


def test_unknown_parameter_stops_before_mlflow_opens_a_run(kedro: Kedro, tmp_path: Path):
    done = kedro("run", data_dir=tmp_path, params="ppo.learning_rte=1", check=False, cold=True)
    assert done.returncode != 0
    assert "did you mean ppo.learning_rate?" in done.stderr
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("pipeline", "change", "named"),
    [
        ("training", "data.symbols=ALDR", "data.symbols: made with ['ALDR', 'BRIX'], now ['ALDR']"),
        pytest.param(
            "training", "simulated.signal=0", "simulated.signal: made with 0.006, now 0.0", marks=pytest.mark.slow
        ),
        pytest.param(
            *("backtest", "features.digest_sessions=2", "features.digest_sessions: made with 3, now 2"),
            marks=pytest.mark.slow,
        ),
        ("features", "data.seed=9", "data.seed: made with 0, now 9"),
    ],
)
def test_stage_alone_refuses_data_made_with_other_parameters(
    small_run: str, kedro: Kedro, copied_run: Path, pipeline: str, change: str, named: str
):
    done = kedro("run", f"--pipelines={pipeline}", data_dir=copied_run, params=f"{small_run},{change}", check=False)
    assert done.returncode != 0
    assert named in done.stderr


@pytest.mark.slow
def test_interrupted_retraining_leaves_the_old_policy_usable(small_run: str, kedro: Kedro, copied_run: Path):
    """The bundle brings its own tiny backbone, so a new one beside it does no harm."""
    before = (copied_run / "07_model_output" / "decisions.parquet").read_bytes()
    other = f"{small_run},seed=5"
    kedro("run", "--nodes=prepare_backbone", data_dir=copied_run, params=other)
    kedro("run", "--pipelines=backtest", data_dir=copied_run, params=small_run)
    assert (copied_run / "07_model_output" / "decisions.parquet").read_bytes() == before
