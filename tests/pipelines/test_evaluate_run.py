"""`kedro run --pipelines=evaluate` on a finished run."""

import json
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path

import mlflow
import numpy as np
import polars as pl
import pytest

Kedro = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_policy_is_asked_for_other_tasks_before_and_after_its_training(
    kedro: Kedro, copied_run: Path, small_run: str
) -> None:
    done = kedro("run", "--pipelines=evaluate", data_dir=copied_run, params=small_run)
    report = json.loads((copied_run / "08_reporting" / "task_evaluation.json").read_text())
    assert report["left_out"]["headline_sentiment"] == "the source calls no headline positive or negative"
    tasks = report["tasks"]
    assert set(tasks) == {"news_sentiment", "week_volatility", "next_direction", "large_move", "value_at_risk"}
    for name, task in tasks.items():
        assert set(task["readers"]) >= {"flag_trader", "backbone", "constant"}, name  # tiny is random from the start
        assert "random_weights" not in task["readers"]
        assert all(np.isfinite(score["loss"]) for score in task["readers"].values())
    assert {"har", "ewma"} <= set(tasks["week_volatility"]["readers"])
    crossed = tasks["value_at_risk"]["readers"]["har"]["coverage"]
    assert sum(each["num"] for each in crossed.values()) == tasks["value_at_risk"]["num_test"]
    said = " ".join(done.stdout.split())
    assert "headline_sentiment is left out" in said
    assert "week_volatility, QLIKE" in said
    assert (copied_run / "08_reporting" / "task_evaluation_plot.json").is_file()
    mlflow.set_tracking_uri(f"sqlite:///{copied_run / 'mlflow.db'}")
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    loss = tasks["next_direction"]["readers"]["flag_trader"]["loss"]
    assert run.data.metrics["tasks/next_direction/flag_trader/loss"] == pytest.approx(loss)

    losses = [score["loss"] for task in tasks.values() for score in task["readers"].values()]
    kedro("run", "--pipelines=evaluate", data_dir=copied_run, params=small_run)
    again = json.loads((copied_run / "08_reporting" / "task_evaluation.json").read_text())["tasks"]
    assert [score["loss"] for task in again.values() for score in task["readers"].values()] == losses

    states = pl.read_parquet(copied_run / "04_feature" / "market_states" / "ALDR.parquet")
    first, last = (date.fromisoformat(day) for day in report["windows"]["test"])
    test = states.filter(pl.col("session").is_between(first, last))
    assert tasks["next_direction"]["num_test"] == 2 * (test.height - 1)
