"""What a trained policy did on its test window, as the part of a model card that its training could not write."""

from collections.abc import Mapping
from typing import Any

from flag_kedro.backtest.report import account_scores_of
from flag_kedro.backtest.report_terms import METRICS, show, show_interval
from flag_kedro.names import (
    BENCHMARK,
    MAX_DRAWDOWN,
    NUM_TRADES,
    POLICY,
    SHARPE_RATIO,
    SIMULATED,
    SORTINO_RATIO,
    TOTAL_RETURN,
    TURNOVER,
    WIN_RATE,
)

SHOWN = (TOTAL_RETURN, SHARPE_RATIO, SORTINO_RATIO, MAX_DRAWDOWN, WIN_RATE, TURNOVER, NUM_TRADES)
AGAINST = {"sharpe_difference": "buy and hold", "cash_difference": "cash"}


def write_results(metrics: Mapping[str, Any], inference: Mapping[str, Any], audit: Mapping[str, Any]) -> str:
    """Results, calibration and limits in Markdown; all symbols in one account, after costs.

    Args:
        metrics: `backtest_metrics`.
        inference: `backtest_inference`.
        audit: `causality_audit`.

    Raises:
        DataError: when a number is NaN or infinite.
    """
    convention = account_scores_of(metrics)["convention"]
    first, last = convention["window"]
    costs = convention["cost_bps"] + convention["slippage_bps"]
    return f"""## What it did on its test window

{metrics["market"]}, {first} to {last}: all {len(inference["symbols"])} symbols in one account, filled at
{convention["fill"]}, {costs:g} bp a trade; Sharpe ratio = {convention["sharpe_ratio"]}. Intervals hold 95 % (stationary
bootstrap of sessions).

{_scores(metrics["pooled"])}

{_tests(inference)}

{_meaning(inference)}

## Limits

{_limits(metrics, inference, audit)}
"""


def headline_scores(metrics: Mapping[str, Any], inference: Mapping[str, Any]) -> dict[str, float]:
    """The same as numbers by name, for MLflow's table of models; what is undefined is left out."""
    scores, tests = metrics["pooled"][POLICY], inference["pooled"][POLICY]
    found = {name: scores[name] for name in SHOWN}
    for name in SHOWN:
        low, high = scores.get(f"{name}_ci95") or (None, None)
        found |= {f"{name}_ci95_low": low, f"{name}_ci95_high": high}
    for name in AGAINST:
        found |= {name: tests[name]["value"], f"{name}_p_value": tests[name]["p_value"]}
    calibration, market = (inference[kind].get(POLICY, {}) for kind in ("calibration", "market_exposure"))
    found |= {"shift_p_value": tests["shift_p_value"]}
    found |= {name: calibration.get(name) for name in ("brier", "expected_error")}
    found |= {name: market.get(name) for name in ("alpha", "beta")}
    return {name: float(value) for name, value in found.items() if value is not None}


def _scores(pooled: Mapping[str, Mapping[str, Any]]) -> str:
    """A table: policy and benchmark."""
    rows = ["| | this policy | buy and hold |", "|---|---:|---:|"]
    for term in METRICS:
        if term.key in SHOWN:
            cells = [_cell(pooled[name], term.key, term.unit) for name in (POLICY, BENCHMARK)]
            rows.append(f"| {term.label} | {cells[0]} | {cells[1]} |")
    return "\n".join(rows)


def _cell(scores: Mapping[str, Any], key: str, unit: Any) -> str:
    return f"{show(scores[key], unit)} {show_interval(scores.get(f'{key}_ci95'), unit)}".strip()


def _tests(inference: Mapping[str, Any]) -> str:
    tests = inference["pooled"][POLICY]
    said = []
    for name, other in AGAINST.items():
        found = tests[name]
        said.append(
            f"against {other} {show(found['value'], 'ratio')} {show_interval(found['ci95'], 'ratio')}, "
            f"p {show(found['p_value'], 'p_value')}"
        )
    shifts = show(tests["shift_p_value"], "p_value")
    return (
        f"Sharpe ratio {'; '.join(said)}; against shifts in time of its own positions p {shifts}.\n{tests['verdict']}"
    )


def _meaning(inference: Mapping[str, Any]) -> str:
    """Whether its probabilities mean what they say, and how much of its return is the market's."""
    said = []
    if (found := inference["calibration"].get(POLICY)) is not None:
        better = found["brier_constant"] - found["brier"]
        said.append(
            f"Its probabilities of being long against what the next session did ({found['num_decisions']:,} "
            f"decisions): Brier score {show(found['brier'], 'probability')}, better than a constant by "
            f"{show(better, 'probability')} {show_interval(found['improvement_ci95'], 'probability')}; expected "
            f"calibration error {show(found['expected_error'], 'probability')}."
        )
    if (found := inference["market_exposure"].get(POLICY)) is not None:
        said.append(
            f"Regressed on buy and hold: alpha {show(found['alpha'], 'percent')} % a year "
            f"{show_interval(found['alpha_ci95'], 'percent')}, beta {show(found['beta'], 'ratio')} "
            f"{show_interval(found['beta_ci95'], 'ratio')}."
        )
    return "\n".join(said)


def _limits(metrics: Mapping[str, Any], inference: Mapping[str, Any], audit: Mapping[str, Any]) -> str:
    trials = inference["num_trials"]
    limits = [
        "One seed and one window; a policy that was trained anew may do otherwise.",
        f"Trials counted on this window: {'unknown' if trials is None else f'{trials:,}'}.",
        "The causality audit found "
        + ("nothing." if audit["passed"] else "a leak: these results are not to be believed."),
    ]
    if metrics["market"].startswith(SIMULATED):
        limits.insert(0, "The market is simulated: nothing here says what it would earn on a real one.")
    return "\n".join(f"- {limit}" for limit in limits)
