"""What the causality audit of a backtest found, as `causality_audit.json` has it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flag_kedro.errors import LookAheadError

MAX_LISTED = 10
"""Differences that a check lists; it counts all."""


@dataclass(frozen=True, kw_only=True)
class AuditDifference:
    """A row that is not what it should be."""

    what: str
    """`prompts`, `decisions`, `fills` or `texts`; of fills `ledger`, `order`, `leverage`, `log_return`, `position`,
    `volume` or `stop`."""
    strategy: str
    symbol: str
    session: str
    """Its date, ISO 8601."""


@dataclass(frozen=True, kw_only=True)
class CausalityCheck:
    """What became known after one time changed in one way: rows that depend on it, or stand in one backtest only."""

    decided_at: str
    """What became known after it is changed, ISO 8601."""
    corruption: str
    """One of `corruptions.CORRUPTIONS`."""
    compared: dict[str, int]
    """Rows compared: `prompts` (with masks), `decisions` (with probabilities, values and positions) and `fills` (with
    equity)."""
    num_differences: int
    differences: list[AuditDifference]
    """The first ten."""


@dataclass(frozen=True, kw_only=True)
class LevelCheck:
    """Market and news texts that a later split of shares would change."""

    compared: int
    num_differences: int
    differences: list[AuditDifference]
    """The first ten."""


@dataclass(frozen=True, kw_only=True)
class FillCheck:
    """Sessions of accounts that orders, costs and fills at the prices in the prices table do not explain."""

    compared: int
    """Sessions of all accounts."""
    num_fills: int
    num_differences: int
    differences: list[AuditDifference]
    """The first ten."""


@dataclass(frozen=True, kw_only=True)
class CausalityAudit:
    """All checks; it passed where none of them has a difference."""

    passed: bool
    checks: list[CausalityCheck]
    levels: LevelCheck
    fills: FillCheck

    @classmethod
    def of(cls, checks: list[CausalityCheck], levels: LevelCheck, fills: FillCheck) -> "CausalityAudit":
        """The audit that consists of these checks."""
        differences = [check.num_differences for check in checks]
        passed = not any([*differences, levels.num_differences, fills.num_differences])
        return cls(passed=passed, checks=checks, levels=levels, fills=fills)


def refuse_differences(audit: str, checks: Sequence[Mapping[str, Any]], file: str) -> None:
    """Refuse results that depend on the future.

    Args:
        audit: which one, for the message.
        checks: of any of the classes above, as JSON has them.
        file: where all of them are.

    Raises:
        LookAheadError: with the number of differences and the first, where there is one.
    """
    num = sum(check["num_differences"] for check in checks)
    if num:
        first = next(difference for check in checks for difference in check["differences"])
        listed = ", ".join(f"{name} {value}" for name, value in first.items())
        raise LookAheadError(
            f"the {audit} failed: {num} difference(s), the first in {listed}. What was scored here means nothing; "
            f"look at {file}"
        )
