"""Where datasets lie. Patterns in the catalog must catch neither what stays in memory nor each other's."""

from pathlib import Path
from typing import Any

import pytest
from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog

from flag_kedro import settings
from flag_kedro.pipeline_registry import register_pipelines

CONF = Path(__file__).resolve().parents[2] / "conf"
REPORTS = {
    "training_history": "training_history.json",
    "training_plot": "training_plot.json",
    "promotion": "promotion.json",
    "backtest_metrics": "backtest_metrics.json",
    "backtest_inference": "backtest_inference.json",
    "backtest_sensitivity": "backtest_sensitivity.json",
    "backtest_language_models": "backtest_language_models.json",
    "backtest_report": "backtest_report.html",
    "causality_audit": "causality_audit.json",
    "full_audit": "full_audit.json",
    "equity_plot": "equity.json",
    "drawdown_plot": "drawdown.json",
    "rolling_sharpe_plot": "rolling_sharpe.json",
    "interval_plot": "interval.json",
    "cost_curve_plot": "cost_curve.json",
    "trades_plot": "trades.json",
    "probabilities_plot": "probabilities.json",
    "published_rows": "published_rows.json",
    "published_audit": "published_audit.json",
    "published_page": "published.html",
    "certificate": "certificate.json",
    "certificate_plot": "certificate_plot.json",
    "walk_forward_results": "walk_forward.json",
    "walk_forward_plot": "walk_forward_plot.json",
    "seed_results": "seeds.json",
    "sweep_results": "sweep.json",
    "sweep_frontier_plot": "sweep_frontier_plot.json",
    "contamination": "contamination.json",
    "robustness": "robustness.json",
    "language_certificate": "language_certificate.json",
    "report_facts": "report_facts.json",
    "forward_test": "forward_test.json",
    "model_card": "model_card.md",
    "portfolio_results": "portfolio.json",
    "portfolio_history": "portfolio_history.json",
    "portfolio_audit": "portfolio_audit.json",
    "portfolio_plot": "portfolio_plot.json",
    "event_study": "event_study.json",
    "event_study_page": "event_study.html",
    "task_evaluation": "task_evaluation.json",
    "task_evaluation_plot": "task_evaluation_plot.json",
}
"""In 08_reporting, and among the artifacts of MLflow's run."""
FILES = {name: f"08_reporting/{file}" for name, file in REPORTS.items()} | {
    "yahoo_store": "01_raw/yahoo",
    "prices": "02_intermediate/prices.parquet",
    "news": "02_intermediate/news.parquet",
    "universe": "02_intermediate/universe.parquet",
    "quarantine": "02_intermediate/quarantine.parquet",
    "company_names": "02_intermediate/company_names.json",
    "ingest_facts": "02_intermediate/ingest_facts.json",
    "data_report": "08_reporting/data_report.json",
    "market_store": "02_intermediate/market_store",
    "state_store": "02_intermediate/state_store",
    "stream_report": "02_intermediate/stream_report.json",
    "streamed_states": "08_reporting/streamed_states.json",
    "earlier_model_card": "08_reporting/model_card.md",
    "earlier_full_audit": "08_reporting/full_audit.json",
    "market_states": "04_feature/market_states",
    "earlier_market_states": "04_feature/market_states",
    "market_facts": "04_feature/market_facts.json",
    "backbone": "06_models/backbone",
    "shared_backbone": "06_models/shared_backbone",
    "trunk_cache": "05_model_input/trunk_cache",
    "checkpoints": "06_models/checkpoints",
    "policy": "06_models/policy",
    "text_baseline": "06_models/text_baseline",
    "sb3_baseline": "06_models/sb3_baseline",
    "training_wall_times": "08_reporting/training_wall_times.json",
    "walk_forward_rows": "06_models/walk_forward",
    "seed_rows": "06_models/seeds",
    "sweep_rows": "06_models/sweep",
    "certificate_rows": "06_models/certificate",
    "unsent_calls": "08_reporting/unsent",
    "endpoint_answers": "07_model_output/endpoint_answers",
    "decisions": "07_model_output/decisions.parquet",
    "equity": "07_model_output/equity.parquet",
    "headline_influence": "07_model_output/headline_influence.parquet",
    "portfolio_policy": "06_models/portfolio_policy",
    "portfolio_weights": "07_model_output/portfolio_weights.parquet",
    "portfolio_equity": "07_model_output/portfolio_equity.parquet",
    "decision": "07_model_output/decision.json",
    "ledger": "07_model_output/ledger.jsonl",
    "orders": "07_model_output/orders.jsonl",
    "simulated_orders": "07_model_output/simulated_orders.json",
    "traded": "07_model_output/traded.json",
    "earlier_language_certificate": "08_reporting/language_certificate.json",
}
MADE_BY_MODELS = {"trunk_cache": "models", "endpoint_answers": "models"}
"""What a backbone or a server said: it comes before policies or decisions, and layers must not run in a circle."""


def catalog_of(**runtime_params: str) -> DataCatalog:
    loader = OmegaConfigLoader(
        conf_source=str(CONF), env="local", runtime_params=runtime_params, **settings.CONFIG_LOADER_ARGS
    )
    return DataCatalog.from_config(loader["catalog"])


@pytest.fixture(scope="module")
def datasets() -> dict[str, Any]:
    """Those of all pipelines that the catalog knows."""
    catalog = catalog_of(data_dir="data")
    names = set().union(*(pipeline.datasets() for pipeline in register_pipelines().values()))
    return {name: catalog[name] for name in names if name in catalog}


def test_every_file_is_where_it_has_always_been(datasets: dict[str, Any]):
    paths = {name: str(dataset._filepath) for name, dataset in datasets.items() if hasattr(dataset, "_filepath")}
    assert paths == {name: f"data/{file}" for name, file in FILES.items()}


def test_layers_in_kedro_viz_are_those_of_the_folders(datasets: dict[str, Any]):
    for name, file in FILES.items():
        layer = MADE_BY_MODELS.get(name, file.split("/")[0][3:].replace("_", " "))
        assert datasets[name].metadata["kedro-viz"] == {"layer": layer}, name


def test_reports_and_the_policy_are_logged_with_the_run(datasets: dict[str, Any]):
    marks = {name: (getattr(dataset, "metadata", None) or {}).get("mlflow") for name, dataset in datasets.items()}
    logged = {name: mark["artifact_path"] for name, mark in marks.items() if mark}
    assert logged == {name: "reports" for name in REPORTS} | {"policy": None}


def test_folders_of_the_command_line_come_first():
    catalog = catalog_of(data_dir="here", trunk_cache_dir="there")
    assert str(catalog["equity_plot"]._filepath) == "here/08_reporting/equity.json"
    assert str(catalog["trunk_cache"]._filepath) == "there"
