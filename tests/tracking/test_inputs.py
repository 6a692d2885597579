"""Windows as inputs of a run, and policies as its models, in a store as runs use it."""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import mlflow
import polars as pl
import pytest
from mlflow.entities import Metric

from flag_kedro.data.config import DataConfig, WindowsConfig
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.split import MarketSplit
from flag_kedro.experiments.folds import common_sessions, roll_folds
from flag_kedro.policy.manifest import folder_hash
from flag_kedro.tracking.inputs import log_windows
from flag_kedro.tracking.registry import find_logged, log_policy, log_test_metrics, register


@pytest.fixture
def run(empty_store: Path, tmp_path: Path) -> Iterator[mlflow.ActiveRun]:
    """An active run in a store of its own."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{shutil.copy(empty_store, tmp_path)}")
    experiment = mlflow.create_experiment("own", (tmp_path / "artifacts").as_uri())
    with mlflow.start_run(experiment_id=experiment) as active:
        yield active
    mlflow.set_tracking_uri(before)


@pytest.fixture
def split(small_states: Mapping[str, pl.DataFrame]) -> MarketSplit:
    """Ten sessions to learn from, 42 to choose by, ten to be judged by."""
    (fold,) = roll_folds(common_sessions(dict(small_states)), train=10, validation=42, test=10, folds=1)
    windows = WindowsConfig(train=fold.train, validation=fold.validation, test=fold.test)
    return MarketSplit.of(small_states, DataConfig(windows=windows), EnvConfig())


def test_windows_are_inputs_with_dates_hash_schema_and_size(run: mlflow.ActiveRun, split: MarketSplit):
    log_windows(split, "train", "validation")
    log_windows(split, "test")
    found = {each.tags[0].value: each.dataset for each in mlflow.get_run(run.info.run_id).inputs.dataset_inputs}
    assert set(found) == {"training", "validation", "testing"}
    first, last = split.windows.train
    assert found["training"].name == f"{split.market}: {' '.join(split.states)}, {first} to {last}"
    assert {each.digest for each in found.values()} == {split.data_hash[:16]}
    assert json.loads(found["training"].profile) == {
        "num_rows": 10 * len(split.states),
        "num_symbols": len(split.states),
    }
    columns = {column["name"]: column["type"] for column in json.loads(found["testing"].schema)["mlflow_colspec"]}
    assert (columns["news_text"], columns["decided_at"], columns["mark_price"]) == ("string", "datetime", "double")


def test_windows_that_are_not_there_and_runs_that_are_not_there_are_left_out(run: mlflow.ActiveRun, split: MarketSplit):
    log_windows(replace(split, given=replace(split.windows, validation=None)), "train", "validation")
    assert len(mlflow.get_run(run.info.run_id).inputs.dataset_inputs) == 1
    mlflow.end_run()
    log_windows(split, "train")


def test_a_metric_keeps_its_model_and_dataset_on_the_way(run: mlflow.ActiveRun):
    model = mlflow.initialize_logged_model(name="policy")
    metric = Metric("test/sharpe_ratio", 1.5, 1, 0, model_id=model.model_id, dataset_name="x", dataset_digest="y")
    mlflow.MlflowClient().log_batch(run.info.run_id, metrics=[metric])
    (found,) = mlflow.get_logged_model(model.model_id).metrics
    assert (found.key, found.value, found.dataset_name, found.dataset_digest) == ("test/sharpe_ratio", 1.5, "x", "y")


def test_a_model_whose_files_did_not_arrive_is_none(run: mlflow.ActiveRun):
    model = mlflow.initialize_logged_model(name="trained_policy", tags={"policy_hash": "abc"})
    assert find_logged("abc") is None
    mlflow.finalize_logged_model(model.model_id, "FAILED")
    assert find_logged("abc") is None
    whole = mlflow.initialize_logged_model(name="trained_policy", tags={"policy_hash": "abc"})
    mlflow.finalize_logged_model(whole.model_id, "READY")
    assert find_logged("abc") == whole.model_id


def test_a_policy_is_one_model_from_training_to_registry(run: mlflow.ActiveRun, split: MarketSplit, finished_run: Path):
    policy, backbone = (finished_run / "06_models" / name for name in ("policy", "backbone"))
    own_hash = folder_hash(policy)
    assert find_logged(own_hash) is None
    log_test_metrics(own_hash, {"sharpe_ratio": 1.0}, split)  # of a policy that no run of this store trained
    model_id = log_policy(policy, own_hash, backbone, {"summed_log_return": 0.5})
    assert find_logged(own_hash) == model_id
    log_test_metrics(own_hash, {"sharpe_ratio": 2.0}, split)
    registered = register(policy, own_hash, backbone, {"log_return": 0.25})
    (version,) = mlflow.MlflowClient().search_model_versions("name='flag_kedro'")
    assert (str(version.version), version.source) == (registered.version, f"models:/{model_id}")
    metrics = {metric.key: metric for metric in mlflow.get_logged_model(model_id).metrics}
    values = {name: metric.value for name, metric in metrics.items()}
    assert values == {"validation/summed_log_return": 0.5, "validation/log_return": 0.25, "test/sharpe_ratio": 2.0}
    first, last = split.windows.test
    assert str(metrics["test/sharpe_ratio"].dataset_name).endswith(f"{first} to {last}")
