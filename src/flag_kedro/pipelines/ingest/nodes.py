"""Nodes of the ingest pipeline."""

import logging

import polars as pl

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.market import load_market
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.pipelines.facts import MarketFacts, market_facts

logger = logging.getLogger(__name__)


def ingest_market(
    data: DataConfig, news: NewsConfig, simulated: SimulatedConfig
) -> tuple[pl.DataFrame, pl.DataFrame, MarketFacts]:
    """Bring prices and news of the source into the two validated tables, and note which parameters made them."""
    prices, articles = load_market(data, news, simulated)
    symbols = " ".join(prices["symbol"].unique(maintain_order=True))
    logger.info("%s: %s, %d prices, %d articles", data.source, symbols, prices.height, articles.height)
    return prices, articles, market_facts(data, news, simulated)
