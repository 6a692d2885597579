"""A complete run with the environment's other settings."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

Kedro = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.slow
def test_both_sides_interest_and_a_cap_go_through_the_whole_pipeline(
    kedro: Kedro, small_run: str, untrained_run: Path
) -> None:
    options = "env.positions=long_short,env.cash_rate=0.03,env.max_participation=0.05,env.fill=same_close"
    options += ",env.reward=differential_sharpe,ppo.total_timesteps=128,ppo.validation_interval=1"
    options += ",policy.dtype=auto,policy.readout=lines"
    kedro("run", "--pipelines=training,backtest", data_dir=untrained_run, params=f"{small_run},{options}")
    equity = pl.read_parquet(untrained_run / "07_model_output" / "equity.parquet")
    assert set(equity.filter(strategy="momentum")["position"].unique()) >= {-1, 1}
    flat = equity.filter((pl.col("strategy") == "flat") & (pl.col("symbol") == "ALDR"))
    days = (flat["session"][-1] - flat["session"][0]).days
    assert flat["equity"][-1] / flat["equity"][0] == pytest.approx(1.03 ** (days / 365), rel=1e-4)  # an early close
    metrics = json.loads((untrained_run / "08_reporting" / "backtest_metrics.json").read_text())
    assert metrics["convention"]["fill"] == "same_close"
    assert metrics["results"]["ALDR"]["flat"]["sharpe_ratio"] is None
    assert json.loads((untrained_run / "08_reporting" / "causality_audit.json").read_text())["passed"]
    policy = json.loads((untrained_run / "06_models" / "policy" / "policy.json").read_text())["policy"]
    assert policy["dtype"] in ("float32", "bfloat16")  # what auto has found
    assert policy["readout"] == "lines"


@pytest.mark.slow
def test_penalties_and_a_stop_go_through_the_whole_pipeline(kedro: Kedro, small_run: str, untrained_run: Path) -> None:
    options = "env.max_drawdown_stop=0.02,env.drawdown_penalty=1,env.cvar_penalty=0.1,ppo.total_timesteps=128"
    kedro("run", "--pipelines=training,backtest", data_dir=untrained_run, params=f"{small_run},{options}")
    decisions = pl.read_parquet(untrained_run / "07_model_output" / "decisions.parquet")
    assert decisions.filter(pl.col("stopped") & (pl.col("strategy") == "buy_and_hold")).height
    audit = json.loads((untrained_run / "08_reporting" / "causality_audit.json").read_text())
    assert audit["passed"]
    refused = kedro("run", "--pipelines=backtest", data_dir=untrained_run, params=small_run, check=False)
    assert "env.max_drawdown_stop=0.02" in refused.stdout + refused.stderr
