"""A whole run on a user's files, with a universe that symbols join and leave."""

import json
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from flag_kedro.data.simulated import SimulatedConfig, simulate_market

Kedro = Callable[..., "subprocess.CompletedProcess[str]"]
MARKET = simulate_market(
    ("ALDR", "BRIX", "CORV", "DUNE"),
    SimulatedConfig(market="easy", first_session=date(2023, 3, 1), last_session=date(2023, 12, 29)),
    0,
)
DELISTED = date(2023, 11, 15)


@pytest.fixture
def source(tmp_path: Path) -> str:
    """BRIX is delisted amid the test window, CORV joins amid training, DUNE left before the test."""
    gone = (pl.col("symbol") == "BRIX") & (pl.col("session") > DELISTED)
    MARKET.prices.filter(~gone).drop("available_at").write_csv(tmp_path / "prices.csv")
    MARKET.news.select("symbol", "published_at", "headline").write_csv(tmp_path / "news.csv")
    (tmp_path / "universe.csv").write_text(
        f"symbol,first,last,delisted\nALDR,,,\nBRIX,,,{DELISTED}\nCORV,2023-05-01,,\nDUNE,,2023-09-29,\n"
    )
    windows = "2023-03-01 2023-07-31", "2023-08-01 2023-09-29", "2023-10-02 2023-12-29"
    named = ",".join(
        f"data.windows.{name}={w}" for name, w in zip(("train", "validation", "test"), windows, strict=True)
    )
    return (
        f"data.source=files,data.path={tmp_path / 'prices.csv'},data.universe={tmp_path / 'universe.csv'},{named},"
        f"news.source=files,news.path={tmp_path / 'news.csv'},"
        "ppo.total_timesteps=640,ppo.validation_interval=5,runtime.threads=1,backtest.audit_times=1,"
        "backtest.bootstrap_draws=200"
    )


@pytest.mark.slow
def test_each_window_trades_who_was_a_member_when_it_began(kedro: Kedro, source: str, tmp_path: Path):
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    done = kedro("run", data_dir=data_dir, params=source)
    assert "chosen with knowledge" not in done.stdout + done.stderr
    decisions = pl.read_parquet(data_dir / "07_model_output" / "decisions.parquet")
    own = decisions.filter(pl.col("strategy") == "flag_trader").group_by("symbol", maintain_order=True)
    last = dict(own.agg(pl.col("session").max()).rows())
    assert last == {"ALDR": date(2023, 12, 29), "BRIX": DELISTED, "CORV": date(2023, 12, 29)}
    metrics = json.loads((data_dir / "08_reporting" / "backtest_metrics.json").read_text())
    assert list(metrics["results"]) == ["ALDR", "BRIX", "CORV"]
    assert metrics["results"]["BRIX"]["buy_and_hold"]["num_prices"] == len(
        MARKET.prices.filter((pl.col("symbol") == "BRIX") & pl.col("session").is_between(date(2023, 10, 2), DELISTED))
    )
    assert json.loads((data_dir / "08_reporting" / "causality_audit.json").read_text())["passed"]


@pytest.mark.slow
def test_symbols_named_by_hand_are_warned_of_to_the_end(kedro: Kedro, source: str, tmp_path: Path):
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    done = kedro("run", "--pipelines=ingest", data_dir=data_dir, params=f"{source},data.symbols=ALDR CORV")
    assert "chosen with knowledge" in " ".join((done.stdout + done.stderr).split())
    (warning,) = json.loads((data_dir / "08_reporting" / "data_report.json").read_text())["warnings"]
    assert "after 2023-10-02" in warning
