"""Nodes of the ingest pipeline."""

import logging
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.files import FilesConfig
from flag_kedro.data.market import MarketConfig, load_market
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.data.yahoo import YahooConfig, download_market
from flag_kedro.features.provenance import MarketFacts, market_facts, tables_hash

logger = logging.getLogger(__name__)


def update_store(data: DataConfig, news: NewsConfig, yahoo: YahooConfig, yahoo_store: Path) -> dict[str, Any]:
    """Bring the store of a source that has one up to date; the one node that uses the network."""
    return download_market(data, news, yahoo, yahoo_store, datetime.now(UTC))


def ingest_market(
    download_report: dict[str, Any],
    yahoo_store: Path,
    data: DataConfig,
    news: NewsConfig,
    simulated: SimulatedConfig,
    files: FilesConfig,
    yahoo: YahooConfig,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, dict[str, list[str]], pl.DataFrame, dict[str, Any], MarketFacts]:
    """Bring prices and news of the source into the two validated tables, and note which parameters made them."""
    market = load_market(MarketConfig(data, news, simulated, files, yahoo), yahoo_store, datetime.now(UTC))
    symbols = " ".join(market.prices["symbol"].unique(maintain_order=True))
    logger.info("%s: %s, %d prices, %d articles", data.source, symbols, market.prices.height, market.news.height)
    for warning in market.report.warnings:
        logger.warning("%s", warning)
    names = {symbol: list(found) for symbol, found in market.names.items()}
    report = asdict(market.report) | {"download": download_report}
    tables = {"sha256": tables_hash(market.prices, market.news, market.universe, names)}
    facts = market_facts(data, news, simulated) | {"tables": tables}
    return market.prices, market.news, market.universe, names, market.rejected, report, facts
