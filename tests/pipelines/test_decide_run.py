"""`kedro run --pipelines=decide` on a finished run."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import polars as pl

from flag_kedro.policy.manifest import folder_hash
from flag_kedro.serving.ledger import append

LATER = "2999-01-01T00:00:00+00:00"
Kedro = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_day_of_the_test_window_has_the_backtests_decision_and_no_mlflow_run(
    kedro: Kedro, copied_run: Path, small_run: str
) -> None:
    decided = pl.read_parquet(copied_run / "07_model_output" / "decisions.parquet").filter(strategy="flag_trader")
    session = decided["session"].unique().sort()[-3]
    done = kedro(
        "run", "--pipelines=decide", data_dir=copied_run, params=f"{small_run},decide.as_of={session.isoformat()}"
    )
    found = json.loads((copied_run / "07_model_output" / "decision.json").read_text())
    rows = decided.filter(session=session).to_dicts()
    assert [each["symbol"] for each in found["decisions"]] == [row["symbol"] for row in rows]
    for each, row in zip(found["decisions"], rows, strict=True):
        assert (each["action"], each["position"], each["value"]) == (row["action"], row["position"], row["value"])
        assert each["probabilities"] == {name: row[f"prob_{name}"] for name in ("sell", "hold", "buy")}
        assert each["without"]
        assert f"{each['symbol']}" in done.stdout
    assert f"Decided at the close of {session} (as asked for), to trade at the next open: ALDR" in done.stdout
    assert "SIMULATED" in done.stdout


def test_without_a_day_an_old_market_is_stale_and_the_hint_leads_out(
    kedro: Kedro, copied_run: Path, small_run: str
) -> None:
    done = kedro("run", "--pipelines=decide", data_dir=copied_run, params=small_run, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    said = " ".join((done.stdout + done.stderr).split())
    assert "ALDR is stale: its states end on" in said
    hint = said.partition('--params="')[2].partition('"')[0]
    nightly = f"{small_run},{hint},decide.position=ledger"  # the guide's command, on a day that is there
    kedro("run", "--pipelines=ingest,features,decide", data_dir=copied_run, params=nightly)
    (first, *_) = json.loads((copied_run / "07_model_output" / "decision.json").read_text())["decisions"]
    assert first["position_from"] == "flat: the ledger has no earlier decision of it"


def test_a_policy_of_other_costs_or_prompts_is_refused(kedro: Kedro, copied_run: Path, small_run: str) -> None:
    params = f"{small_run},env.cost_bps=9"
    done = kedro("run", "--pipelines=decide", data_dir=copied_run, params=params, check=False)
    assert done.returncode != 0
    assert "does not match what is read now" in done.stdout + done.stderr


def test_what_came_of_a_ledger_is_scored_and_held_against_the_backtest(
    kedro: Kedro, copied_run: Path, small_run: str
) -> None:
    decided = pl.read_parquet(copied_run / "07_model_output" / "decisions.parquet").filter(strategy="flag_trader")
    policy = folder_hash(copied_run / "06_models" / "policy")
    kept = decided.filter(pl.col("session") >= decided["session"].unique().sort()[-12])
    lines = [
        {
            **row,
            "id": f"{row['symbol']} {row['session']}",
            "session": row["session"].isoformat(),
            "policy": policy,
            "fills_at": LATER,
        }
        for row in kept.iter_rows(named=True)
    ]
    empty = kedro("run", "--pipelines=follow", data_dir=copied_run, params=small_run, check=False)
    assert "the ledger has 0 decisions" in " ".join((empty.stdout + empty.stderr).split())
    append(copied_run / "07_model_output" / "ledger.jsonl", lines)
    done = kedro("run", "--pipelines=follow", data_dir=copied_run, params=small_run)
    found = json.loads((copied_run / "08_reporting" / "forward_test.json").read_text())
    assert found["num_decisions"] == kept.height
    assert found["promise"]["num_sessions"] == 11
    assert "Forward test" in done.stdout
    assert "in 11 sessions; as long stretches of the backtest earn" in " ".join(done.stdout.split())
    ledger = (copied_run / "07_model_output" / "ledger.jsonl").read_text()
    (copied_run / "07_model_output" / "ledger.jsonl").write_text(ledger.replace('"hold"', '"sell"', 1))
    forged = kedro("run", "--pipelines=follow", data_dir=copied_run, params=small_run, check=False)
    assert forged.returncode != 0
    assert "was changed: its hash is another" in " ".join((forged.stdout + forged.stderr).split())
