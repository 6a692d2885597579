"""The node that reads prompts ahead, in whole runs: same bits as without it, one folder for several runs."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

Kedro = Callable[..., "subprocess.CompletedProcess[str]"]
RESULTS = (
    "06_models/policy/adapter_model.safetensors",
    "06_models/policy/heads.safetensors",
    "08_reporting/training_history.json",
    "07_model_output/decisions.parquet",
    "07_model_output/equity.parquet",
)


@pytest.fixture(scope="module")
def read_ahead(
    kedro: Kedro, small_run: str, copy_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Training and replay of a small run whose trunk rows lie in a folder of their own."""
    folder = tmp_path_factory.mktemp("ahead")
    params = f"{small_run},policy.trunk_cache=disk,trunk_cache_dir={folder}/rows"
    asked = "--pipelines=training,backtest", "--to-outputs=decisions,equity"
    kedro("run", *asked, data_dir=copy_run(folder / "data", trained=False), params=params)
    return folder


def test_a_run_that_reads_ahead_gives_the_same_files(read_ahead: Path, finished_run: Path):
    for name in RESULTS:
        assert (read_ahead / "data" / name).read_bytes() == (finished_run / name).read_bytes(), name


def num_prompts(data: Path) -> int:
    tables = [pl.read_parquet(file) for file in (data / "04_feature" / "market_states").glob("*.parquet")]
    return pl.concat(tables).select("market_text", "news_text").n_unique()


def test_every_prompt_of_all_windows_is_one_row(read_ahead: Path):
    assert len(list((read_ahead / "rows").rglob("*.safetensors"))) == num_prompts(read_ahead / "data") > 300
    assert not list((read_ahead / "rows").rglob(".*"))
    assert not list((read_ahead / "data" / "05_model_input").rglob("*.safetensors"))


@pytest.mark.slow
def test_another_run_finds_all_rows_in_the_shared_folder(
    read_ahead: Path, kedro: Kedro, small_run: str, tmp_path: Path
):
    before = {path: path.stat().st_mtime_ns for path in (read_ahead / "rows").rglob("*.safetensors")}
    shared = f"policy.trunk_cache=disk,trunk_cache_dir={read_ahead}/rows"
    done = kedro("run", "--pipelines=train", data_dir=tmp_path, params=f"{small_run},{shared},ppo.learning_rate=2e-3")
    num = num_prompts(tmp_path)
    assert f"{num} of {num} prompts are in" in " ".join((done.stdout + done.stderr).split())
    assert {path: path.stat().st_mtime_ns for path in (read_ahead / "rows").rglob("*.safetensors")} == before


def test_endless_account_texts_stop_the_run_before_training(kedro: Kedro, small_run: str, untrained_run: Path):
    params = f"{small_run},policy.trunk_cache=disk,env.account_view=paper"
    done = kedro("run", "--pipelines=training", data_dir=untrained_run, params=params, check=False)
    assert done.returncode != 0
    assert "env.account_view=paper they are endless" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (untrained_run / "06_models" / "policy").exists()
