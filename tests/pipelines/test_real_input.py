"""The same commands on real files and with a real tokenizer."""

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from gguf_files import draw_model, write_gguf

Kedro = Callable[..., "subprocess.CompletedProcess[str]"]


def test_investorbench_run_reproduces_the_published_buy_and_hold_row(kedro: Kedro, investorbench: Path, tmp_path: Path):
    """MSFT, last day dropped as in the published table; training is cut short, the window is the paper's."""
    params = (
        f"data.source=investorbench,data.path={investorbench},data.symbols=MSFT,"
        "data.windows.test=2020-10-01 2021-05-05,backtest.convention=investorbench,"
        "ppo.total_timesteps=64,runtime.threads=1,backtest.audit_times=1,backtest.bootstrap_draws=200"
    )
    done = kedro("run", data_dir=tmp_path, params=params)
    assert "decisions fill at" in done.stdout + done.stderr  # next_close, since the source has no opens
    metrics = json.loads((tmp_path / "08_reporting" / "backtest_metrics.json").read_text())
    row = metrics["results"]["MSFT"]["buy_and_hold"]
    assert round(100 * row["cumulative_return"], 3) == 15.340
    assert round(row["sharpe_ratio"], 3) == 1.039
    assert round(100 * row["annual_volatility"], 3) == 24.980
    assert round(100 * row["max_drawdown"], 3) == 9.428
    policy = json.loads((tmp_path / "06_models" / "policy" / "policy.json").read_text())
    assert policy["windows"]["train"] == ["2020-07-01", "2020-09-30"]
    assert policy["env"]["fill"] == "next_close"


@pytest.fixture
def smollm2_folder(smollm2: Path, tmp_path: Path) -> Path:
    """SmolLM2's tokenizer and a shrunken config with random weights, saved as any Hugging Face folder is."""
    folder = tmp_path / "SmolLM2-shrunken"
    folder.mkdir()
    shutil.copy(smollm2 / "config.json", folder)
    config = AutoConfig.from_pretrained(folder)
    config.num_hidden_layers, config.hidden_size, config.intermediate_size = 3, 72, 96
    AutoModel.from_config(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_file=str(smollm2 / "tokenizer.json")).save_pretrained(folder)
    return folder


def test_local_folder_trains_and_backtests_through_the_same_command(kedro: Kedro, smollm2_folder: Path, tmp_path: Path):
    params = (
        f"policy.backbone={smollm2_folder},policy.frozen_layers=2,"
        "data.symbols=ALDR,simulated.first_session=2023-10-02,ppo.total_timesteps=64,runtime.threads=1,"
        "backtest.audit_times=1,backtest.bootstrap_draws=200"
    )
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    kedro("run", "--to-outputs=backtest_metrics", data_dir=data_dir, params=params)
    assert (data_dir / "08_reporting" / "backtest_metrics.json").exists()
    policy = json.loads((data_dir / "06_models" / "policy" / "policy.json").read_text())
    assert policy["policy"]["backbone"] == "SmolLM2-shrunken"
    assert policy["backbone_origin"]["source"] == "folder"
    assert str(tmp_path) not in (data_dir / "06_models" / "policy" / "adapter_config.json").read_text()
    assert not (data_dir / "06_models" / "policy" / "backbone").exists()


def test_first_layers_of_a_gguf_file_train_and_every_result_says_what_they_are(
    kedro: Kedro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FLAG_KEDRO_CACHE", str(tmp_path / "cache"))
    path = write_gguf(tmp_path / "small.gguf", draw_model("llama"))
    params = (
        f"policy.backbone={path},policy.frozen_layers=1,policy.num_layers=2,"
        "data.symbols=ALDR,simulated.first_session=2023-10-02,ppo.total_timesteps=64,runtime.threads=1,"
        "backtest.audit_times=1,backtest.bootstrap_draws=200"
    )
    data_dir = tmp_path / "data"
    kedro("run", data_dir=data_dir, params=params)
    policy = json.loads((data_dir / "06_models" / "policy" / "policy.json").read_text())
    assert (policy["policy"]["backbone"], policy["policy"]["num_layers"]) == ("small.gguf", 2)
    assert policy["backbone_origin"]["name"] == "small (F32)"
    assert "Backbone: small (F32), from a GGUF file" in (data_dir / "06_models" / "policy" / "README.md").read_text()
    report = (data_dir / "08_reporting" / "backtest_report.html").read_text()
    assert "small (F32), from a GGUF file; the first 2 layers" in report
    with sqlite3.connect(data_dir / "mlflow.db") as store:
        tags = dict(store.execute("select key, value from tags"))
    assert tags["backbone_origin"] == "small (F32), from a GGUF file"
    assert str(tmp_path) not in (data_dir / "06_models" / "policy" / "policy.json").read_text()
