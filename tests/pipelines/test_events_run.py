"""`kedro run --pipelines=events` on a policy trained on every session, and on one trained on events."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import mlflow
import polars as pl
import pytest

Kedro = Callable[..., "subprocess.CompletedProcess[str]"]
RULE = "env.event_news_burst=3,env.event_large_move=1.5"


@pytest.mark.slow
def test_both_kinds_of_policies_are_replayed_both_ways(kedro: Kedro, copied_run: Path, small_run: str) -> None:
    done = kedro("run", "--pipelines=events", data_dir=copied_run, params=f"{small_run},{RULE}")
    study = json.loads((copied_run / "08_reporting" / "event_study.json").read_text())
    assert study["trained_on"] == "every_session"
    equity = pl.read_parquet(copied_run / "07_model_output" / "equity.parquet")  # of the backtest, at every session
    for name in ("flag_trader", "buy_and_hold", "text_ridge"):
        total = equity.filter(strategy=name)["log_return"].sum()
        assert study["scores"]["every_session"][name]["summed_log_return"] == pytest.approx(total), name
    assert set(study["kept"]) == {
        *("flag_trader", "buy_and_hold", "flat", "sticky_random", "momentum", "mean_reversion", "text_ridge"),
        *("text_linear_ppo", "optimal"),
    }
    assert study["event_study"]["model"] == "market-adjusted"
    said = " ".join(done.stdout.split())
    assert "flag_trader was trained to trade on every session" in said
    assert "of its turnover" in said
    assert "<html>" in (copied_run / "08_reporting" / "event_study.html").read_text()[:50]
    mlflow.set_tracking_uri(f"sqlite:///{copied_run / 'mlflow.db'}")
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    sharpe = study["scores"]["events"]["buy_and_hold"]["sharpe_ratio"]
    assert run.data.metrics["events/events/buy_and_hold/sharpe_ratio"] == pytest.approx(sharpe)

    on_events = f"{small_run},{RULE},env.decide_on=events"
    refused = kedro("run", "--pipelines=events", data_dir=copied_run, params=on_events, check=False)
    assert refused.returncode != 0
    assert "does not match what is read now" in " ".join((refused.stdout + refused.stderr).split())

    kedro("run", "--pipelines=training,backtest", data_dir=copied_run, params=on_events)  # its audit passes
    assert json.loads((copied_run / "06_models" / "policy" / "policy.json").read_text())["env"]["decide_on"] == "events"
    decisions = pl.read_parquet(copied_run / "07_model_output" / "decisions.parquet")
    kedro("run", "--pipelines=events", data_dir=copied_run, params=on_events)
    study = json.loads((copied_run / "08_reporting" / "event_study.json").read_text())
    assert study["trained_on"] == "events"
    num = sum(each["events"] for each in study["events"].values())
    trades = decisions.filter((pl.col("strategy") == "flag_trader") & (pl.col("action") != "hold"))
    assert trades.height <= num
    equity = pl.read_parquet(copied_run / "07_model_output" / "equity.parquet").filter(strategy="flag_trader")
    total = study["scores"]["events"]["flag_trader"]["summed_log_return"]
    assert equity["log_return"].sum() == pytest.approx(total)

    day = next(iter(_days_without_event(copied_run, decisions)))
    done = kedro("run", "--pipelines=decide", data_dir=copied_run, params=f"{on_events},decide.as_of={day}")
    said = " ".join(done.stdout.split())
    assert "No event, so hold: " in said
    plain = kedro("run", "--pipelines=decide", data_dir=copied_run, params=small_run, check=False)
    assert plain.returncode != 0
    assert "does not match what is read now" in " ".join((plain.stdout + plain.stderr).split())


def _days_without_event(data: Path, decisions: pl.DataFrame) -> list[str]:
    """Sessions of the test window on which a symbol has two articles at most and moved little."""
    found = []
    for file in sorted((data / "04_feature" / "market_states").glob("*.parquet")):
        states = pl.read_parquet(file)
        moves = (states["mark_price"].log().diff().abs()).to_numpy()
        counts = states["news_text"].str.count_matches("(?m)^- ").to_numpy()
        small = pl.Series((counts <= 2) & (moves < 0.005))
        days = states.filter(small)["session"]
        found += [str(day) for day in days if day in set(decisions["session"][1:-1])]
    return found
