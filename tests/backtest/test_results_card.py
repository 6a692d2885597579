"""The results of a model card are those of the result files, in words a reader can check against them."""

import json
from pathlib import Path
from typing import Any

import pytest

from flag_kedro.backtest.results_card import headline_scores, write_results
from flag_kedro.errors import DataError

Files = dict[str, Any]


@pytest.fixture
def results(finished_run: Path) -> Files:
    """Metrics, inference and audit of a finished run."""
    names = ("backtest_metrics", "backtest_inference", "causality_audit")
    return {name: json.loads((finished_run / "08_reporting" / f"{name}.json").read_text()) for name in names}


def test_numbers_of_the_card_are_those_of_the_files(results: Files):
    pooled = results["backtest_metrics"]["pooled"]
    pooled["flag_trader"]["sharpe_ratio_ci95"] = [-0.5, 1.5]
    tests = results["backtest_inference"]["pooled"]["flag_trader"]
    tests["cash_difference"] = {"value": 0.5, "ci95": [-0.25, 1.25], "p_value": 0.043}
    card = write_results(*results.values())
    benchmark, (low, high) = pooled["buy_and_hold"], pooled["buy_and_hold"]["sharpe_ratio_ci95"]
    assert f"| {benchmark['sharpe_ratio']:.2f} [{low:.2f}, {high:.2f}] |" in card
    assert f"| MDD % | {100 * pooled['flag_trader']['max_drawdown']:.2f}" in card
    assert "against cash 0.50 [-0.25, 1.25], p 0.043" in card
    assert tests["verdict"] in card
    found = results["backtest_inference"]["calibration"]["flag_trader"]
    assert f"Brier score {found['brier']:.3f}" in card
    assert "The market is simulated: nothing here says what it would earn" in card
    assert "The causality audit found nothing." in card
    named = headline_scores(results["backtest_metrics"], results["backtest_inference"])
    assert (named["sharpe_ratio_ci95_low"], named["sharpe_ratio_ci95_high"]) == (-0.5, 1.5)
    assert named["brier"] == found["brier"]
    assert named["cash_difference_p_value"] == 0.043


def test_a_leak_and_unknown_trials_are_told_and_no_probabilities_need_be_there(results: Files):
    results["causality_audit"]["passed"] = False
    results["backtest_inference"] |= {"num_trials": None, "calibration": {}, "market_exposure": {}}
    card = write_results(*results.values())
    assert "a leak: these results are not to be believed" in card
    assert "Trials counted on this window: unknown." in card
    assert "brier" not in headline_scores(results["backtest_metrics"], results["backtest_inference"])


def test_a_number_that_is_none_stops_the_card(results: Files):
    results["backtest_metrics"]["pooled"]["flag_trader"]["turnover"] = float("nan")
    with pytest.raises(DataError, match="given nan"):
        write_results(*results.values())
