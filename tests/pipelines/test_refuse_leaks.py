"""A leak that the audit found fails the run."""

from typing import Any

import pytest

from flag_kedro.errors import LookAheadError
from flag_kedro.pipelines.backtest.audit_nodes import refuse_leaks


def _check(*differences: dict[str, str]) -> dict[str, Any]:
    return {"num_differences": len(differences), "differences": list(differences)}


def test_failed_audit_fails_the_run_and_says_where() -> None:
    leak = {"what": "decisions", "strategy": "flag_trader", "symbol": "ALDR", "session": "2023-10-02"}
    audit = {"passed": False, "checks": [_check(), _check(leak, leak)]}
    with pytest.raises(
        LookAheadError, match=r"2 difference\(s\), the first in .*flag_trader, symbol ALDR, session 2023"
    ):
        refuse_leaks(audit, "page")


def test_passed_audit_lets_the_run_end() -> None:
    refuse_leaks({"passed": True, "checks": [_check()]}, "page")
