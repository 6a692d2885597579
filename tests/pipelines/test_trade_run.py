"""`kedro run --pipelines=trade` on a finished run."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import polars as pl

from flag_kedro.policy.manifest import folder_hash
from flag_kedro.serving.ledger import append, read

LATER = "2999-01-01T00:00:00+00:00"
Kedro = Callable[..., "subprocess.CompletedProcess[str]"]


def test_decisions_are_ordered_once_and_a_file_stops_it(kedro: Kedro, copied_run: Path, small_run: str) -> None:
    output = copied_run / "07_model_output"
    empty = kedro("run", "--pipelines=trade", data_dir=copied_run, params=small_run)
    assert "No new order." in empty.stdout
    decided = pl.read_parquet(output / "decisions.parquet").filter(strategy="flag_trader")
    flat = decided.filter(pl.col("position") == 0).group_by("symbol", maintain_order=True).last()
    lines = [
        {
            **row,
            "id": f"{row['symbol']} {row['session']}",
            "action": "buy",
            "session": row["session"].isoformat(),
            "policy": folder_hash(copied_run / "06_models" / "policy"),
            "fills_at": LATER,
        }
        for row in flat.iter_rows(named=True)
    ]
    append(output / "ledger.jsonl", lines)
    done = kedro("run", "--pipelines=trade", data_dir=copied_run, params=f"{small_run},trade.money=5000")
    said = " ".join(done.stdout.split())
    assert "Ordered at a simulated broker: no real money." in said
    traded = json.loads((output / "traded.json").read_text())
    assert {order["symbol"] for order in traded["orders"]} == {line["symbol"] for line in lines}
    again = kedro("run", "--pipelines=trade", data_dir=copied_run, params=f"{small_run},trade.money=5000")
    assert "The account has" in again.stdout
    assert len(list(read(output / "orders.jsonl"))) == len(lines)
    (copied_run / "STOP").touch()
    stopped = kedro("run", "--pipelines=trade", data_dir=copied_run, params=small_run, check=False)
    assert stopped.returncode != 0
    said = " ".join((stopped.stdout + stopped.stderr).split())
    assert "trading is stopped:" in said
    assert "STOP is there; remove it to trade again" in said
    assert "Traceback" not in said
