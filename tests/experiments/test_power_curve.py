"""The power curve's shares: 1 for the optimal policy, 0 for who never trades, and a cell is measured once."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from power_curve import Cell, draw_market  # noqa: E402

from flag_kedro.experiments.oracle import ask_oracle  # noqa: E402


def test_share_is_one_for_the_optimal_policy_and_nothing_for_none() -> None:
    market = draw_market(Cell("text_ridge", 0.01, 120, 2, 0))
    window = market.split.test
    best = ask_oracle(window, market.split.env, market.truth, market.simulated).targets
    assert market.share(best) == 1.0
    assert market.share(np.zeros_like(best)) == 0.0
    assert market.share(np.roll(best, 20, axis=1)) < 0.5
    assert int(market.split.train.num_sessions[0]) == pytest.approx(120, abs=1)


@pytest.mark.slow
def test_measured_cells_are_kept(tmp_path: Path) -> None:
    results = tmp_path / "power.json"
    options = ["--signals", "0.016", "--sessions", "120", "--symbols", "2", "--learners", "text_ridge"]
    command = [sys.executable, str(ROOT / "benchmarks" / "power_curve.py"), *options, "--json", str(results)]
    subprocess.run([*command, "--seeds", "1"], check=True, capture_output=True)
    (first,) = json.loads(results.read_text()).values()
    results.write_text(json.dumps({name: first | {"share": 7.0} for name in json.loads(results.read_text())}))
    subprocess.run([*command, "--seeds", "2"], check=True, capture_output=True)
    shares = [cell["share"] for cell in json.loads(results.read_text()).values()]
    assert shares[0] == 7.0
    assert len(shares) == 2
    assert -1.0 < shares[1] <= 1.0
