"""Names of scores in MLflow."""

from dataclasses import asdict

from flag_kedro.backtest.intervals import Difference
from flag_kedro.backtest.verdict import Correction, Rivals
from flag_kedro.tracking.scores import flatten_scores


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
