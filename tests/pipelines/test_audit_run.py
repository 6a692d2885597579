"""The full audit by its command, and what a backtest says of it afterwards."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

Kedro = Callable[..., "subprocess.CompletedProcess[str]"]
SMALL = "audit.times=1,audit.total_timesteps=128"


def test_audit_passes_and_the_next_backtest_says_so(kedro: Kedro, copied_run: Path, small_run: str) -> None:
    done = kedro("run", "--pipelines=audit", data_dir=copied_run, params=f"{small_run},{SMALL}")
    assert "Passed: tiny on SIMULATED, preset laboratory" in done.stdout
    assert "with 128 account-decisions a training." in done.stdout
    found = json.loads((copied_run / "08_reporting" / "full_audit.json").read_text())
    assert found["passed"] is True
    assert found["checks"][0]["compared"]["fitted"] == 5
    backtest = kedro("run", "--from-nodes=audit_backtest", data_dir=copied_run, params=small_run)
    assert json.loads((copied_run / "08_reporting" / "causality_audit.json").read_text())["full_audit"] == "passed"
    assert "Full audit: passed." in (copied_run / "08_reporting" / "backtest_report.html").read_text()
    assert "Traceback" not in backtest.stdout + backtest.stderr
