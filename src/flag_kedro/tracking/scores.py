"""Names of scores in MLflow."""

from collections.abc import Mapping
from typing import Any


def flatten_scores(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, float]:
    """`backtest/SYMBOL/STRATEGY/METRIC` of every number, and of the values and p-values of tests."""
    flat: dict[str, float] = {}
    for symbol, strategies in results.items():
        for strategy, scores in strategies.items():
            prefix = f"backtest/{symbol}/{strategy}"
            for metric, value in scores.items():
                if isinstance(value, dict) and {"value", "p_value"} <= value.keys():
                    flat |= {f"{prefix}/{metric}": value["value"], f"{prefix}/{metric}_p_value": value["p_value"]}
                elif isinstance(value, dict) and "holm" in value:
                    flat |= {f"{prefix}/lead_p_value": value["p_value"], f"{prefix}/lead_p_value_holm": value["holm"]}
                elif isinstance(value, (int, float)):
                    flat[f"{prefix}/{metric}"] = value
    return {name: float(value) for name, value in flat.items() if value is not None}
