"""A market streamed by the command line, and symbols taken out of it: the files of ingest and features."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from streamed_market import write_news, write_prices

Kedro = Callable[..., "subprocess.CompletedProcess[str]"]
MADE = ("02_intermediate/ingest_facts.json", "02_intermediate/company_names.json", "04_feature/market_facts.json")


@pytest.fixture
def source(tmp_path: Path) -> str:
    write_prices(tmp_path / "prices")
    write_news(tmp_path / "news")
    return (
        f"data.source=files,data.path={tmp_path / 'prices'},news.source=files,news.path={tmp_path / 'news'},"
        "data.quarantine=true,data.max_gap=1,data.max_left_out=0.9,news.symbol_separator=semicolon,"
        "files.names.ACME=Acme"
    )


@pytest.mark.slow
def test_selected_symbols_are_the_files_of_ingest_and_features_and_can_be_traded(kedro: Kedro, source, tmp_path):
    chosen = f"{source},data.symbols=ACME BRK-B"
    (tmp_path / "streamed").mkdir()
    (tmp_path / "whole").mkdir()
    done = kedro("run", "--pipelines=stream", data_dir=tmp_path / "streamed", params=source)
    assert "Market streamed" in done.stdout
    kedro("run", "--pipelines=select", data_dir=tmp_path / "streamed", params=chosen)
    kedro("run", "--pipelines=ingest,features", data_dir=tmp_path / "whole", params=chosen)
    streamed, whole = tmp_path / "streamed", tmp_path / "whole"
    for symbol in ("ACME", "BRK-B"):
        name = f"04_feature/market_states/{symbol}.parquet"
        assert (streamed / name).read_bytes() == (whole / name).read_bytes()
    assert len(list((streamed / "04_feature" / "market_states").glob("*.parquet"))) == 2
    for name in ("prices", "news", "universe"):
        tables = [pl.read_parquet(folder / f"02_intermediate/{name}.parquet") for folder in (streamed, whole)]
        assert_frame_equal(*tables)
    for name in MADE:
        assert json.loads((streamed / name).read_text()) == json.loads((whole / name).read_text())
    small = "ppo.total_timesteps=512,ppo.validation_interval=2,runtime.threads=1,backtest.audit_times=1"
    params = f"{chosen},{small},backtest.bootstrap_draws=200"
    kedro("run", "--pipelines=training,backtest", data_dir=streamed, params=params)
    audit = json.loads((streamed / "08_reporting" / "causality_audit.json").read_text())
    assert audit["passed"]
    assert set(json.loads((streamed / "08_reporting" / "backtest_metrics.json").read_text())["results"]) >= {"ACME"}


def test_select_before_stream_names_what_to_run(kedro: Kedro, source, tmp_path):
    (tmp_path / "data").mkdir()
    done = kedro("run", "--pipelines=select", data_dir=tmp_path / "data", params=source, check=False)
    assert done.returncode
    assert "--pipelines=stream" in done.stdout + done.stderr
