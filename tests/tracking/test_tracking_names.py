"""Any name can be given to MLflow, and no two become one."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import path_not_unique, validate_param_and_metric_name

from flag_kedro.tracking.names import escape_name, unescape_name


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("backtest/MSFT/flag_trader/sharpe_ratio", "backtest/MSFT/flag_trader/sharpe_ratio"),
        ("backtest/BRK.B/flat/turnover", "backtest/BRK.B/flat/turnover"),
        ("all/x y-z", "all/x y-z"),
        ("^GSPC", "_x005E_GSPC"),
        ("EURUSD=X", "EURUSD_x003D_X"),
        ("GC=F", "GC_x003D_F"),
        ("M&M.NS", "M_x0026_M.NS"),
        ("a:b", "a_x003A_b"),  # Windows takes no colon
        ("_x005E_GSPC", "_x005F_x005E_GSPC"),  # as it is written, no escape
        ("a/../b", "a/_x002E__x002E_/b"),
        ("a//b", "a_x002F__x002F_b"),
        ("/a", "_x002F_a"),
        ("日経", "日経"),
        ("", ""),
    ],
)
def test_names_that_mlflow_refuses_are_escaped_and_others_are_not(name: str, escaped: str):
    assert escape_name(name) == escaped
    assert unescape_name(escaped) == name


@given(st.text(st.sampled_from(string.printable + "_x005E_/..é漢😀\n"), min_size=1, max_size=30))
def test_every_name_is_taken_and_comes_back(name: str):
    escaped = escape_name(name)
    assert validate_param_and_metric_name(escaped)
    assert not path_not_unique(escaped)
    assert unescape_name(escaped) == name
