"""What of a run's datasets is sent to a store, when, and under which name."""

from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog

from flag_kedro import settings
from flag_kedro.errors import ParameterError, TrackingError
from flag_kedro.hooks.data_folder import store_url
from flag_kedro.hooks.mirror import unit_of, units_of
from flag_kedro.hooks.tracking import PATTERNS, check_named
from flag_kedro.pipeline_registry import register_pipelines

CONF = Path(__file__).resolve().parents[2] / "conf"


def loader_of(env: str, **runtime_params: str) -> OmegaConfigLoader:
    loader = OmegaConfigLoader(
        conf_source=str(CONF), env=env, runtime_params=runtime_params, **settings.CONFIG_LOADER_ARGS
    )
    loader.config_patterns["mlflow"] = PATTERNS
    return loader


class Context:
    """What hooks read of Kedro's."""

    def __init__(self, env: str, **runtime_params: str) -> None:
        self.config_loader = loader_of(env, **runtime_params)


@pytest.fixture
def catalog(tmp_path: Path) -> DataCatalog:
    return DataCatalog.from_config(loader_of("local", data_dir=str(tmp_path))["catalog"])


def test_checkpoints_grow_ledgers_are_kept_and_rows_go_one_by_one(catalog: DataCatalog, tmp_path: Path) -> None:
    pipelines = register_pipelines()
    training = units_of(pipelines["training"], catalog, tmp_path)
    assert set(training.growing) == {"06_models/checkpoints", "06_models/seeds"}
    assert dict(training.rows) == {"trunk_cache": tmp_path / "05_model_input" / "trunk_cache"}
    assert training.kept == ["profile.json"]
    assert "04_feature/market_states" in training.read  # behind what is made anew in memory
    assert "06_models/policy" not in training.read  # made by the run
    decide = units_of(pipelines["decide"], catalog, tmp_path)
    assert set(decide.kept) == {"07_model_output/ledger.jsonl", "profile.json"}
    assert "06_models/policy" in decide.read


def test_a_run_of_what_is_missing_looks_at_all_that_the_store_has(catalog: DataCatalog, tmp_path: Path) -> None:
    """Else an old table here would count as made, and what is made of it would be sent beside the store's new one."""
    pipeline = register_pipelines()["train"]
    assert "02_intermediate/prices.parquet" not in units_of(pipeline, catalog, tmp_path).read
    looking = units_of(pipeline, catalog, tmp_path, looks_at_all=True)
    assert {"02_intermediate/prices.parquet", "06_models/policy"} <= set(looking.read)
    assert not [unit for unit in looking.read if "unsent" in unit or "trunk_cache" in unit]


def test_what_mlflow_was_not_told_stays_on_its_machine(catalog: DataCatalog, tmp_path: Path) -> None:
    upload = units_of(register_pipelines()["upload"], catalog, tmp_path)
    assert not [*upload.read, *upload.growing]


def test_folders_elsewhere_and_rows_are_not_sent_whole(catalog: DataCatalog, tmp_path: Path) -> None:
    assert unit_of(catalog["prices"], tmp_path) == "02_intermediate/prices.parquet"
    assert unit_of(catalog["trunk_cache"], tmp_path) is None
    assert unit_of(catalog["prices"], tmp_path / "other") is None


def test_the_cluster_profile_asks_for_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLAG_KEDRO_STORE", "MLFLOW_TRACKING_URI", "MLFLOW_ARTIFACT_LOCATION"):
        monkeypatch.delenv(name, raising=False)
    context = Context("cluster")
    with pytest.raises(ParameterError, match="FLAG_KEDRO_STORE=s3://BUCKET/PREFIX"):
        store_url(context)
    with pytest.raises(TrackingError, match=r"MLFLOW_TRACKING_URI=postgresql://.*\n.*MLFLOW_ARTIFACT_LOCATION=s3://"):
        check_named(context.config_loader["mlflow"])
    monkeypatch.setenv("FLAG_KEDRO_STORE", "s3://bucket/a")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://host/runs")
    monkeypatch.setenv("MLFLOW_ARTIFACT_LOCATION", "s3://bucket/b")
    context = Context("cluster")
    assert store_url(context) == "s3://bucket/a"
    assert context.config_loader["mlflow"]["tracking"]["run"]["nested"] is False  # of base
    check_named(context.config_loader["mlflow"])


def test_without_the_profile_there_is_no_store_unless_one_is_given() -> None:
    assert store_url(Context("local")) is None
    assert store_url(Context("local", store_url="file:///shared/store")) == "file:///shared/store"
    check_named(Context("local").config_loader["mlflow"])
