"""A leak that an audit found fails the run."""

from typing import Any

import pytest

from flag_kedro.errors import LookAheadError
from flag_kedro.experiments.config import AUDITED_CODE
from flag_kedro.pipelines.audit.nodes import refuse_leaks_from_source
from flag_kedro.pipelines.backtest.audit_nodes import refuse_leaks, state_of
from flag_kedro.ppo.code_hash import code_hash


def _check(*differences: dict[str, str]) -> dict[str, Any]:
    return {"num_differences": len(differences), "differences": list(differences)}


def test_failed_audit_fails_the_run_and_says_where() -> None:
    leak = {"what": "decisions", "strategy": "flag_trader", "symbol": "ALDR", "session": "2023-10-02"}
    audit = {"passed": False, "checks": [_check(), _check(leak, leak)], "levels": _check(), "fills": _check()}
    with pytest.raises(
        LookAheadError, match=r"2 difference\(s\), the first in .*flag_trader, symbol ALDR, session 2023"
    ):
        refuse_leaks(audit, "page")


def test_fill_at_another_price_fails_the_run_too() -> None:
    fill = {"what": "ledger", "strategy": "flag_trader", "symbol": "ALDR", "session": "2023-10-02"}
    audit = {"passed": False, "checks": [_check()], "levels": _check(), "fills": _check(fill)}
    with pytest.raises(LookAheadError, match=r"1 difference\(s\), the first in what ledger"):
        refuse_leaks(audit, "page")


def test_passed_audit_lets_the_run_end() -> None:
    refuse_leaks({"passed": True, "checks": [_check()], "levels": _check(), "fills": _check()}, "page")
    refuse_leaks_from_source({"passed": True, "checks": [_check()]})


def test_failed_full_audit_fails_its_run() -> None:
    leak = {"what": "policy", "strategy": "flag_trader", "symbol": "all", "session": "2023-10-02"}
    with pytest.raises(LookAheadError, match=r"1 difference\(s\), the first in what policy, .*full_audit.json"):
        refuse_leaks_from_source({"passed": False, "checks": [_check(), _check(leak)]})


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({}, "passed"),
        ({"passed": False}, "failed"),
        ({"facts": {"data_hash": "b", "windows": ["2024"]}}, "outdated"),
        ({"code_hash": "b"}, "outdated"),
    ],
)
def test_full_audit_counts_for_the_same_data_and_code(changed: dict[str, Any], state: str) -> None:
    saved = {"data_hash": "a", "windows": ["2024"]}
    full_audit = {"passed": True, "facts": saved, "code_hash": code_hash(AUDITED_CODE)} | changed
    assert state_of(full_audit, {"data_hash": "a", "windows": ("2024",)}) == state


def test_no_full_audit_is_said() -> None:
    assert state_of(None, {}) == "not run"
