"""`kedro run --pipelines=promote` on a finished run, and the model that it leaves in MLflow."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import pandas as pd
import polars as pl
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

ROOT = Path(__file__).resolve().parents[2]
Kedro = Callable[..., "subprocess.CompletedProcess[str]"]


def test_the_first_policy_is_registered_and_answers_as_the_backtest_did(
    kedro: Kedro, copied_run: Path, small_run: str
) -> None:
    done = kedro("run", "--pipelines=promote", data_dir=copied_run, params=small_run)
    found = json.loads((copied_run / "08_reporting" / "promotion.json").read_text())
    said = " ".join(done.stdout.split())
    alias = "champion" if found["promoted"] else "challenger"
    assert f"The policy is version 1 of flag_kedro, and its {alias}: it is the first" in said
    store = f"sqlite:///{copied_run / 'mlflow.db'}"
    client = MlflowClient(store)
    assert client.get_model_version_by_alias("flag_kedro", "challenger").tags["policy_hash"] == found["policy"]
    if not found["promoted"]:
        client.set_registered_model_alias("flag_kedro", "champion", "1")
    mlflow.set_tracking_uri(store)
    model = mlflow.pyfunc.load_model("models:/flag_kedro@champion")

    decided = pl.read_parquet(copied_run / "07_model_output" / "decisions.parquet").filter(strategy="flag_trader")
    flat = decided.filter(pl.col("position") == 0)
    rows, expected = [], []
    for row in flat.iter_rows(named=True):
        state = (
            pl.read_parquet(copied_run / "04_feature" / "market_states" / f"{row['symbol']}.parquet")
            .filter(session=row["session"])
            .to_dicts()[0]
        )
        rows.append({"market_text": state["market_text"], "news_text": state["news_text"], "account_text": "flat"})
        expected.append(row)
    assert len(rows) > 20
    answers = model.predict(pd.DataFrame(rows))
    for answer, row in zip(answers.to_dict("records"), expected, strict=True):
        assert answer["action"] == row["action"]
        for name in ("prob_sell", "prob_hold", "prob_buy", "value"):
            assert answer[name] == row[name], name  # to the bit, whatever stands beside it

    for broken, words in (
        ([{"market_text": "x", "news_text": "none", "account_text": "rich"}], "row 0: account_text is 'rich'; this"),
        ([{"market_text": " ", "news_text": "none", "account_text": "flat"}], "row 0: market_text is ' '; it must be"),
    ):
        with pytest.raises(MlflowException, match=words) as caught:
            model.predict(pd.DataFrame(broken))
        assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    with pytest.raises(MlflowException):
        model.predict(pd.DataFrame([{"market_text": "x"}]))

    again = kedro("run", "--pipelines=promote", data_dir=copied_run, params=small_run)
    assert "The policy is the champion already: version 1." in " ".join(again.stdout.split())
    assert len(client.search_model_versions("name='flag_kedro'")) == 1


@pytest.mark.slow
def test_mlflows_server_gives_right_answers_or_4xx_and_lives(kedro: Kedro, copied_run: Path, small_run: str) -> None:
    kedro("run", "--pipelines=promote", data_dir=copied_run, params=small_run)
    store = f"sqlite:///{copied_run / 'mlflow.db'}"
    command = [sys.executable, ROOT / "benchmarks" / "serving.py", "--model=models:/flag_kedro@challenger"]
    done = subprocess.run(
        [*command, f"--store={store}", "--requests=1000"], capture_output=True, text=True, check=False, cwd=copied_run
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert found["memory_mb_after"] < 1.1 * found["memory_mb_before"] + 20.0
