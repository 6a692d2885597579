"""The answer of a backtest: every strategy on the account of all symbols, the best first."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class AnswerRow:
    """One strategy; numbers of the account of all symbols, after costs."""

    strategy: str
    total_return: float | None
    """Compounded; None for a ruined account."""
    sharpe_ratio: float | None
    sharpe_ratio_ci95: list[float] | None
    p_values: dict[str, float | None]
    """Against buy and hold (`sharpe`), `cash` and time shifts of its own positions (`shifts`); none of buy and hold."""
    below: frozenset[str]
    """Which of buy and hold and cash it is below, so that their p-values speak against it."""
    ahead: bool | None
    """None of buy and hold itself."""


def answer_rows(pooled: Mapping[str, Mapping[str, Any]], compared: Mapping[str, Mapping[str, Any]]) -> list[AnswerRow]:
    """The rows of all strategies, the largest total return first and the ruined last.

    Args:
        pooled: scores of each strategy, `backtest_metrics["pooled"]`.
        compared: its tests, `backtest_inference["pooled"]`; buy and hold has none.
    """
    rows = [_row(strategy, scores, compared.get(strategy)) for strategy, scores in pooled.items()]
    return sorted(rows, key=lambda row: math.inf if row.total_return is None else -row.total_return)


def _row(strategy: str, scores: Mapping[str, Any], comparison: Mapping[str, Any] | None) -> AnswerRow:
    p_values: dict[str, float | None] = {}
    below = set()
    if comparison is not None:
        for other in ("sharpe", "cash"):
            difference = comparison[f"{other}_difference"]
            p_values[other] = difference["p_value"]
            if difference["value"] is not None and difference["value"] < 0.0:
                below.add(other)
        p_values["shifts"] = comparison["shift_p_value"]
    return AnswerRow(
        strategy=strategy,
        total_return=scores["total_return"],
        sharpe_ratio=scores["sharpe_ratio"],
        sharpe_ratio_ci95=scores["sharpe_ratio_ci95"],
        p_values=p_values,
        below=frozenset(below),
        ahead=None if comparison is None else comparison["proven_ahead"],
    )
