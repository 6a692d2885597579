"""`kedro run --pipelines=portfolio` on a finished run."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

Kedro = Callable[..., "subprocess.CompletedProcess[str]"]


def test_one_account_over_all_symbols_is_trained_and_held_against_rules(
    kedro: Kedro, copied_run: Path, small_run: str
) -> None:
    params = f"{small_run},portfolio.threshold=0.01"
    done = kedro("run", "--pipelines=portfolio", data_dir=copied_run, params=params)
    results = json.loads((copied_run / "08_reporting" / "portfolio.json").read_text())
    rules = {
        "buy_and_hold",
        "equal_weight",
        "inverse_volatility",
        "minimum_variance",
        "mean_variance",
        "best_in_hindsight",
    }
    assert set(results["scores"]) == {"flag_trader", *rules}
    assert set(results["differences"]) == rules
    equity = pl.read_parquet(copied_run / "07_model_output" / "portfolio_equity.parquet")
    own = equity.filter(strategy="flag_trader")
    total = own["equity"][-1] / own["equity"][0] - 1.0
    assert results["scores"]["flag_trader"]["total_return"] == pytest.approx(total)
    parts = results["contributions"]
    assert sum(parts.values()) == pytest.approx((own["equity"] / own["equity"].shift() - 1.0).sum())
    weights = pl.read_parquet(copied_run / "07_model_output" / "portfolio_weights.parquet")
    sums = weights.group_by("strategy", "session").agg(pl.col("target").abs().sum())["target"]
    assert sums.max() <= 1.0 + 1e-9  # type: ignore[operator]
    said = " ".join(done.stdout.split())
    assert "2 symbols in one account" in said
    assert "nobody could have held it on purpose" in said
    history = json.loads((copied_run / "08_reporting" / "portfolio_history.json").read_text())
    assert [row["step"] for row in history] == [64 * (update + 1) for update in range(len(history))]
    assert all(np.isfinite(list(row.values())).all() for row in history)

    other = kedro(
        "run", "--pipelines=portfolio", "--from-nodes=replay_trained_portfolio", data_dir=copied_run,
        params=f"{small_run},portfolio.threshold=0.2", check=False,
    )  # fmt: skip
    assert other.returncode != 0
    assert "does not match what is read now" in " ".join((other.stdout + other.stderr).split())
