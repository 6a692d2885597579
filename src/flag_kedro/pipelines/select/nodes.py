"""The node of the select pipeline."""

from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.files import FilesConfig
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.data.streamed.ingest import StreamConfig
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.provenance import MarketFacts, market_facts, tables_hash
from flag_kedro.features.selected import select_market
from flag_kedro.features.streamed import StateStore


def select_symbols(
    market_store: Path,
    state_store: Path,
    stream_report: dict[str, Any],
    data: DataConfig,
    news: NewsConfig,
    simulated: SimulatedConfig,
    files: FilesConfig,
    features: FeaturesConfig,
) -> tuple[
    pl.DataFrame,
    pl.DataFrame,
    pl.DataFrame,
    dict[str, list[str]],
    dict[str, Any],
    MarketFacts,
    StateStore,
    MarketFacts,
]:
    """Take the tables and states of `data.symbols` out of the stores, as ingest and features would have made them."""
    chosen = select_market(market_store, state_store, StreamConfig(data, news, files), features, stream_report)
    tables = {"sha256": tables_hash(chosen.prices, chosen.news, chosen.universe, chosen.names)}
    return (
        chosen.prices,
        chosen.news,
        chosen.universe,
        chosen.names,
        chosen.report,
        market_facts(data, news, simulated) | {"tables": tables},
        chosen.states,
        market_facts(data, news, simulated, features),
    )
