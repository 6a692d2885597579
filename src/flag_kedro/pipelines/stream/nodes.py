"""Nodes of the stream pipeline."""

import logging
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.files import FilesConfig
from flag_kedro.data.schema import SHOWN
from flag_kedro.data.streamed.ingest import StreamConfig, stream_market
from flag_kedro.data.streamed.store import MarketStore
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.streamed import stream_states

logger = logging.getLogger(__name__)


def ingest_stream(market_store: Path, data: DataConfig, news: NewsConfig, files: FilesConfig) -> dict[str, Any]:
    """Bring the store of prices and news up to date, unit by unit and bucket by bucket."""
    report = stream_market(StreamConfig(data, news, files), market_store, datetime.now(UTC))
    logger.info("%d symbols; prices %s; articles %s", len(report.symbols), report.prices, report.articles)
    for warning in report.warnings[:SHOWN]:
        logger.warning("%s", warning)
    if len(report.warnings) > SHOWN:
        logger.warning("... and %d more warnings, in the report", len(report.warnings) - SHOWN)
    return asdict(report)


def build_stream(
    stream_report: dict[str, Any], market_store: Path, state_store: Path, features: FeaturesConfig
) -> dict[str, int]:
    """Make the market states of every symbol and year where something has changed."""
    assert stream_report["symbols"]  # ingest has ended
    made = stream_states(MarketStore(market_store), state_store, features, logger.info)
    logger.info("%d of %d symbols recomputed: %s", made.symbols_built, made.num_symbols, asdict(made))
    return asdict(made)
