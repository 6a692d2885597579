"""Names of scores in MLflow."""

from dataclasses import asdict

from flag_kedro.backtest.intervals import Difference
from flag_kedro.backtest.verdict import Correction, Rivals
from flag_kedro.tracking.scores import flatten_scores, glance_at_calibration, glance_at_difference, glance_at_scores


def test_numbers_tests_and_corrections_have_names_and_what_is_undefined_has_none():
    comparison = {
        "sharpe_ratio": 1.5,
        "verdict": "ahead",
        "sharpe_difference": asdict(Difference(0.4, (0.1, 0.7), 0.02)),
        "cash_difference": asdict(Difference(None, None, None)),
        "correction": asdict(Correction(p_value=0.02, num_tests=3, holm=0.06, false_discovery_rate=0.03)),
        "rivals": asdict(Rivals()),
        "shift_p_value": None,
    }
    assert flatten_scores({"ALDR": {"flag_trader": comparison, "other": {"correction": None}}}) == {
        "backtest/ALDR/flag_trader/sharpe_ratio": 1.5,
        "backtest/ALDR/flag_trader/sharpe_difference": 0.4,
        "backtest/ALDR/flag_trader/sharpe_difference_p_value": 0.02,
        "backtest/ALDR/flag_trader/lead_p_value": 0.02,
        "backtest/ALDR/flag_trader/lead_p_value_holm": 0.06,
    }


def test_a_few_scores_on_the_account_of_all_symbols_are_the_ones_to_compare_by():
    scores = {"sharpe_ratio": 1.5, "cumulative_return": 0.2, "max_drawdown": 0.1, "turnover": 9.0}
    flat = scores | {"sharpe_ratio": None}
    found = glance_at_scores({"flag_trader": scores, "buy_and_hold": flat, "flat": scores})
    assert found == {
        "all/flag_trader/sharpe_ratio": 1.5,
        "all/flag_trader/cumulative_return": 0.2,
        "all/flag_trader/max_drawdown": 0.1,
        "all/buy_and_hold/cumulative_return": 0.2,
        "all/buy_and_hold/max_drawdown": 0.1,
    }
    assert glance_at_difference({"value": 0.3, "ci95": None, "p_value": None}) == {
        "all/flag_trader/sharpe_difference": 0.3
    }


def test_calibration_and_exposure_of_the_policy_are_glanced_at() -> None:
    said = {"brier": 0.2, "skill": 0.1, "expected_error": 0.05}
    found = {
        "calibration": {"flag_trader": said, "other": said},
        "market_exposure": {"other": {"alpha": 1.0, "beta": 2.0}},
    }
    assert glance_at_calibration(found) == {
        "all/flag_trader/brier_skill": 0.1,
        "all/flag_trader/calibration_error": 0.05,
    }
    assert glance_at_calibration({"calibration": {}, "market_exposure": {}}) == {}
