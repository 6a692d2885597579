"""What no run has made yet is named before anything starts."""

import json
from pathlib import Path
from typing import Any

import pytest
from kedro.config import OmegaConfigLoader
from kedro.framework.project import configure_project
from kedro.io import DataCatalog

from flag_kedro import settings
from flag_kedro.errors import DataError
from flag_kedro.hooks.check_inputs import CheckInputs, missing_inputs
from flag_kedro.pipeline_registry import register_pipelines

CONF = Path(__file__).resolve().parents[2] / "conf"
PIPELINES = register_pipelines()


@pytest.fixture(autouse=True, scope="module")
def _configured() -> None:
    configure_project("flag_kedro")


def catalog_of(data_dir: Path) -> DataCatalog:
    arguments: dict[str, Any] = settings.CONFIG_LOADER_ARGS
    loader = OmegaConfigLoader(
        conf_source=str(CONF), env="local", runtime_params={"data_dir": str(data_dir)}, **arguments
    )
    return DataCatalog.from_config(loader["catalog"])


def refused(pipeline: Any, data_dir: Path, **run: Any) -> str:
    params = {"runtime_params": {"data_dir": str(data_dir)}} | run
    with pytest.raises(DataError) as raised:
        CheckInputs().before_pipeline_run(params, pipeline, catalog_of(data_dir))
    return str(raised.value)


@pytest.mark.parametrize(
    "name", ["__default__", "train", "ingest", "sweep", "walk_forward", "certify", "audit", "upload"]
)
def test_pipelines_that_begin_with_the_source_need_nothing(name: str, tmp_path: Path):
    assert missing_inputs(PIPELINES[name], catalog_of(tmp_path)) == []


@pytest.mark.parametrize(
    ("name", "missing", "maker"),
    [
        ("features", "prices", "ingest"),
        ("training", "market_states", "train"),
        ("backtest", "policy", "train"),
        ("contamination", "policy", "train"),
        ("robustness", "policy", "train"),
        ("evaluate", "policy", "train"),
        ("sb3_baseline", "market_states", "train"),
        ("select", "stream_report", "stream"),
    ],
)
def test_an_empty_folder_names_what_to_run_first(name: str, missing: str, maker: str, tmp_path: Path):
    said = refused(PIPELINES[name], tmp_path, pipeline_names=[name])
    assert f"{missing}: {tmp_path}/" in said
    assert said.endswith(f"Run {maker} first:\n  kedro run --pipelines={maker} --params=data_dir={tmp_path}")


def test_what_lacks_the_last_step_alone_is_told_that_step(tmp_path: Path):
    """Features are missing, ingest is done."""
    (tmp_path / "02_intermediate").mkdir()
    for name in ("prices", "news", "universe", "quarantine"):
        (tmp_path / "02_intermediate" / f"{name}.parquet").write_bytes(b"")
    for name in ("company_names", "ingest_facts"):
        (tmp_path / "02_intermediate" / f"{name}.json").write_text(json.dumps({}))
    assert "Run features first" in refused(PIPELINES["training"], tmp_path)


def test_what_is_in_memory_only_is_made_by_beginning_earlier(tmp_path: Path):
    part = PIPELINES["contamination"].from_nodes("contamination.report_contamination")
    said = refused(part, tmp_path, from_nodes=["contamination.report_contamination"], pipeline_names=["contamination"])
    assert "before_after, knowledge, memorisation, modalities: in memory only" in said
    assert "--pipelines=contamination --from-nodes=compare_cutoff,compare_sides,probe_memory,replay_ablations" in said
