"""The nodes of the backtest pipeline that show it."""

import json
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import polars as pl

from flag_kedro.backtest.plots import plot_drawdown, plot_equity, plot_rolling_sharpe
from flag_kedro.backtest.plots_scores import plot_cost_curve, plot_intervals
from flag_kedro.backtest.plots_trades import plot_probabilities, plot_trades
from flag_kedro.backtest.report import account_scores_of, largest_decisions, write_report
from flag_kedro.backtest.results_card import headline_scores, write_results
from flag_kedro.backtest.trades import list_trades
from flag_kedro.env.split import MarketSplit
from flag_kedro.experiments.influence import measure_influence
from flag_kedro.experiments.language_models import sentences
from flag_kedro.experiments.strategies import Strategies
from flag_kedro.experiments.yardstick import describe_yardstick
from flag_kedro.names import POLICY
from flag_kedro.policy.manifest import CARD, folder_hash
from flag_kedro.policy.origin import origin_of
from flag_kedro.tracking.log import run_id
from flag_kedro.tracking.registry import log_test_metrics


def explain_trades(
    decisions: pl.DataFrame, equity: pl.DataFrame, split: MarketSplit, strategies: Strategies
) -> pl.DataFrame:
    """Ask the policy for its most probable trades again, with each headline left out in turn."""
    largest = largest_decisions(list_trades(decisions, equity, split.states, split.env.fill))
    chosen = {
        str(symbol): rows["decided"].unique(maintain_order=True).to_list()
        for (symbol,), rows in largest.group_by("symbol")
    }
    return measure_influence(strategies.policy(POLICY).answer, decisions, split, dict(sorted(chosen.items())))


def draw_plots(
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    backtest_metrics: dict[str, Any],
    backtest_inference: dict[str, Any],
    backtest_sensitivity: dict[str, Any],
    market_states: dict[str, pl.DataFrame],
) -> tuple[go.Figure, ...]:
    """Draw the plots of the catalog: all symbols side by side, in the fills and costs of the account."""
    shown = account_scores_of(backtest_metrics)["convention"]
    return (
        plot_equity(equity, shown),
        plot_drawdown(equity, shown),
        plot_rolling_sharpe(equity, shown),
        plot_intervals(backtest_metrics, backtest_inference),
        plot_cost_curve(backtest_sensitivity, shown),
        plot_trades(decisions, equity, market_states, shown),
        plot_probabilities(decisions, shown),
    )


def write_backtest_report(
    decisions: pl.DataFrame,
    equity: pl.DataFrame,
    backtest_metrics: dict[str, Any],
    backtest_inference: dict[str, Any],
    backtest_sensitivity: dict[str, Any],
    causality_audit: dict[str, Any],
    market_states: dict[str, pl.DataFrame],
    headline_influence: pl.DataFrame,
    report_facts: dict[str, Any],
) -> str:
    """Write everything on one page."""
    return write_report(
        decisions=decisions,
        equity=equity,
        backtest_metrics=backtest_metrics,
        inference=backtest_inference,
        sensitivity=backtest_sensitivity,
        audit=causality_audit,
        market_states=market_states,
        influence=headline_influence,
        **report_facts,
    )


def write_model_card(
    policy: Path,
    split: MarketSplit,
    backtest_metrics: dict[str, Any],
    backtest_inference: dict[str, Any],
    causality_audit: dict[str, Any],
) -> str:
    """The policy's card with its results; MLflow's model gets them, too, unless the audit found a leak."""
    own_hash = folder_hash(policy)
    if causality_audit["passed"]:
        log_test_metrics(own_hash, headline_scores(backtest_metrics, backtest_inference), split)
    results = write_results(backtest_metrics, backtest_inference, causality_audit)
    return f"{(policy / CARD).read_text()}\n{results}\nResults are of the policy {own_hash}.\n"


def gather_report_facts(backtest_metrics: dict[str, Any], policy: Path, data_report: dict[str, Any]) -> dict[str, Any]:
    """What the report says of the run besides its results: `facts`, `hashes` and sentences."""
    description = json.loads((policy / "policy.json").read_text())
    convention = account_scores_of(backtest_metrics)["convention"]
    facts = {
        "market": backtest_metrics["market"],
        "symbols": " ".join(backtest_metrics["results"]),
        "test window": convention["window"],
        "fills and costs": f"{convention['fill']}, {convention['cost_bps'] + convention['slippage_bps']:g} bp a trade",
        "trained on": description["windows"]["train"],
        "chosen on": description["windows"]["validation"] or "nothing: the last weights",
        "backbone": _describe_backbone(description),
        "seed": description["seed"],
        "MLflow run": run_id() or "none",
    }
    return {
        "facts": facts,
        "hashes": {"data": description["data_hash"], "policy": folder_hash(policy)},
        "strength": describe_yardstick(backtest_metrics["yardstick"], POLICY),
        "language_models": sentences(backtest_metrics["language_models"]),
        "data_warnings": data_report["warnings"],
    }


def _describe_backbone(description: dict[str, Any]) -> str:
    """What the policy was trained on: the model, where it came from, and how much of it."""
    origin, num_layers = origin_of(description.get("backbone_origin")), description["policy"].get("num_layers")
    name = description["policy"]["backbone"] if origin is None else str(origin)
    return name if num_layers is None else f"{name}; the first {num_layers} layers"
