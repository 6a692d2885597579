"""Names of scores in MLflow: all of them, and the few by which runs are compared at a glance."""

from collections.abc import Mapping
from typing import Any

from flag_kedro.names import ALL_SYMBOLS, BENCHMARK, POLICY

GLANCE = ("sharpe_ratio", "cumulative_return", "max_drawdown")


def flatten_scores(results: Mapping[str, Mapping[str, Mapping[str, Any]]], kind: str = "backtest") -> dict[str, float]:
    """`KIND/SYMBOL/STRATEGY/METRIC` of every number, and of the values and p-values of tests."""
    flat: dict[str, float] = {}
    for symbol, strategies in results.items():
        for strategy, scores in strategies.items():
            prefix = f"{kind}/{symbol}/{strategy}"
            for metric, value in scores.items():
                if isinstance(value, dict) and {"value", "p_value"} <= value.keys():
                    flat |= {f"{prefix}/{metric}": value["value"], f"{prefix}/{metric}_p_value": value["p_value"]}
                elif isinstance(value, dict) and "holm" in value:
                    flat |= {f"{prefix}/lead_p_value": value["p_value"], f"{prefix}/lead_p_value_holm": value["holm"]}
                elif isinstance(value, (int, float)):
                    flat[f"{prefix}/{metric}"] = value
    return {name: float(value) for name, value in flat.items() if value is not None}


def glance_at_scores(pooled: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """`all/STRATEGY/METRIC` of policy and benchmark on the account of all symbols, to compare runs by.

    Args:
        pooled: scores of that account by strategy.
    """
    found = {
        f"{ALL_SYMBOLS}/{name}/{metric}": pooled[name][metric] for name in (POLICY, BENCHMARK) for metric in GLANCE
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def glance_at_difference(difference: Mapping[str, Any]) -> dict[str, float]:
    """The same of the policy's Sharpe ratio less the benchmark's, with its p-value."""
    name = f"{ALL_SYMBOLS}/{POLICY}/sharpe_difference"
    found = {name: difference["value"], f"{name}_p_value": difference["p_value"]}
    return {name: float(value) for name, value in found.items() if value is not None}


def flatten_contamination(report: Mapping[str, Any]) -> dict[str, float]:
    """`contamination/*`: what the backbone may have read, what it recalls, and what the policy earns without parts."""
    flat: dict[str, Any] = {}
    for window, row in report["knowledge"]["windows"].items():
        flat[f"{window}/share_seen"] = row["share_seen"]
    for window, row in report["memorisation"]["windows"].items():
        flat[f"{window}/recall_percentile"] = row["closes"] and row["closes"]["mean_percentile"]
        flat[f"{window}/recall_p_value"] = row["closes"] and row["closes"]["p_value"]
    for measure, row in report["before_after"]["measures"].items():
        for part in ("before", "after", "difference"):
            flat[f"{measure}/{part}"] = row[part] and row[part]["value"]
        flat[f"{measure}/difference_p_value"] = row["difference"] and row["difference"]["p_value"]
    for kind, row in report["modalities"]["ablations"].items():
        flat |= {f"{kind}/log_return": row["log_return"], f"{kind}/agreement": row["agreement"]}
    return {f"contamination/{name}": float(value) for name, value in flat.items() if value is not None}


def flatten_robustness(report: Mapping[str, Any]) -> dict[str, float]:
    """`robustness/*`: what hostile headlines did beside harmless ones, and how many were more than news."""
    kinds = ("hostile", "harmless")
    flat = {f"{kind}/{name}": value for kind in kinds for name, value in report["all"][kind].items()}
    flat |= {"violations": len(report["violations"]), "passed": report["passed"]}
    return {f"robustness/{name}": float(value) for name, value in flat.items()}


def glance_at_calibration(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, float]:
    """`all/flag_trader/METRIC` of calibration and of what the market leaves, to compare runs by.

    Args:
        found: `calibration` and `market_exposure`, by strategy.
    """
    calibration, market = (found[kind].get(POLICY, {}) for kind in ("calibration", "market_exposure"))
    named = {
        "brier_skill": calibration.get("skill"),
        "calibration_error": calibration.get("expected_error"),
        "alpha": market.get("alpha"),
        "beta": market.get("beta"),
    }
    return {f"{ALL_SYMBOLS}/{POLICY}/{name}": float(value) for name, value in named.items() if value is not None}


def flatten_tasks(tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """`tasks/TASK/READER/loss`, `auc` and `accuracy`, and `difference_p_value` of the trained policy against each."""
    flat: dict[str, Any] = {}
    for task, result in tasks.items():
        for reader, score in result["readers"].items():
            flat |= {f"{task}/{reader}/{name}": score[name] for name in ("loss", "auc", "accuracy")}
            difference = result["differences"].get(reader)
            flat[f"{task}/{reader}/difference_p_value"] = difference and difference["p_value"]
    return {f"tasks/{name}": float(value) for name, value in flat.items() if value is not None}


def flatten_event_study(results: Mapping[str, Any]) -> dict[str, float]:
    """`events/MODE/STRATEGY/*`, `events/STRATEGY/*` of what events keep, and `events/car/*` of the event study."""
    flat: dict[str, Any] = {
        f"{mode}/{name}/{metric}": value
        for mode, rows in results["scores"].items()
        for name, row in rows.items()
        for metric, value in row.items()
        if isinstance(value, (int, float))
    }
    for name, kept in results["kept"].items():
        flat |= {f"{name}/kept_{what}": share for what, share in kept.items()}
    for name, found in results["differences"].items():
        flat |= {f"{name}/{score}_difference_p_value": each["p_value"] for score, each in found.items()}
    study = results["event_study"]
    cars = {f"car/{mode}": by_strategy[POLICY] for mode, by_strategy in study["decisions"].items()}
    for path, studies in (cars | {"car/events": study["events"]}).items():
        for name, each in studies.items():
            flat |= {f"{path}/{name}/{what}": each[what]["value"] for what in ("after", "earned")}
            flat |= {f"{path}/{name}/{what}_p_value": value for what, value in each["corrected_p_values"].items()}
    return {f"events/{name}": float(value) for name, value in flat.items() if value is not None}


def flatten_portfolio(results: Mapping[str, Any]) -> dict[str, float]:
    """`portfolio/STRATEGY/METRIC` of every number, and p-values of the policy's Sharpe ratio against each rule's."""
    flat = {
        f"{strategy}/{metric}": value
        for strategy, scores in results["scores"].items()
        for metric, value in scores.items()
        if isinstance(value, (int, float))
    }
    flat |= {f"{name}/difference_p_value": found["p_value"] for name, found in results["differences"].items()}
    if results["yardstick"] is not None:
        flat |= {f"{name}/share_of_oracle": share for name, share in results["yardstick"]["shares"].items()}
    return {f"portfolio/{name}": float(value) for name, value in flat.items() if value is not None}
