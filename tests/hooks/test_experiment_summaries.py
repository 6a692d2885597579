"""What experiments of several trainings print: policies that never decide are named wherever they are ranked."""

from pathlib import Path
from typing import Any

import pytest

from flag_kedro.hooks.summaries.experiments import print_seeds, print_sweep

SPREAD = {"median": 0.0, "interquartile_mean": None, "min": 0.0, "max": 0.1, "std": 0.1, "num": 3}


def sweep_results(collapsed: dict[str, str]) -> dict[str, Any]:
    best = {"params": "ppo.gamma=0.5", "validation_log_return": SPREAD, "collapsed": collapsed}
    return {
        "windows": {"validation": ["2024-01-02", "2024-06-28"]},
        "seeds": [0, 1, 2],
        "combinations": [best, best | {"params": "ppo.gamma=0.1", "collapsed": {}}],
        "best": best["params"],
    }


def test_best_of_a_sweep_that_never_trades_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    print_sweep(sweep_results({"1": "flat", "2": "flat"}), Path("data"))
    printed = " ".join(capsys.readouterr().out.split())
    assert "has learned nothing from what it reads: always flat in 2 of 3 seed(s)" in printed


def test_best_of_a_sweep_that_decides_is_not_doubted(capsys: pytest.CaptureFixture[str]) -> None:
    print_sweep(sweep_results({}), Path("data"))
    assert "learned nothing" not in " ".join(capsys.readouterr().out.split())


def test_seeds_that_never_trade_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"seed": seed, "fold": "run", "collapsed_to": to} for seed, to in enumerate((None, "flat", "buy_and_hold"))]
    scores = {"cumulative_return": SPREAD, "sharpe_ratio": SPREAD}
    held = {"cumulative_return": 0.1, "sharpe_ratio": 1.0}
    summary = {"A": {"flag_trader": scores, "buy_and_hold": held}}
    print_seeds({"seeds": [0, 1, 2], "summary": summary, "rows": rows}, Path("data"))
    printed = " ".join(capsys.readouterr().out.split())
    assert "Always flat, so no skill at timing: seed 1." in printed
    assert "Always long, so no skill at timing: seed 2." in printed


def test_a_search_tells_its_trials_what_was_pruned_and_what_mattered(capsys: pytest.CaptureFixture[str]) -> None:
    results = sweep_results({})
    results["combinations"][0] |= {"pruned": False, "pruned_at": {"1": 2}}
    results["combinations"][1] |= {"pruned": True, "pruned_at": {"0": 3, "1": 3, "2": 5}}
    importances = {"ppo.gamma": 0.75, "policy.lora_rank": 0.25}
    facts = {
        "sampler": "tpe",
        "num_trials": 4,
        "num_combinations": 2,
        "num_pruned": 1,
        "num_failed": 0,
        "importances": importances,
    }
    print_sweep(results | {"search": facts}, Path("data"))
    printed = " ".join(capsys.readouterr().out.split())
    assert "4 trials by tpe, 2 of them proposed before; 1 pruned, 0 failed." in printed
    assert "1 seed(s) pruned at update 2" in printed
    assert "pruned at update 3 5" in printed
    assert "ppo.gamma 75 %, policy.lora_rank 25 %" in printed


def test_a_grid_says_nothing_of_trials(capsys: pytest.CaptureFixture[str]) -> None:
    print_sweep(sweep_results({}), Path("data"))
    printed = capsys.readouterr().out
    assert "trials" not in printed
    assert "pruned" not in printed
