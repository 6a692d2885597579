"""Nodes of the features pipeline."""

import logging

import polars as pl

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_state import build_market_states
from flag_kedro.pipelines.facts import MarketFacts, check_market, market_facts

logger = logging.getLogger(__name__)


def build_features(
    prices: pl.DataFrame,
    news: pl.DataFrame,
    ingest_facts: MarketFacts,
    data_config: DataConfig,
    news_config: NewsConfig,
    simulated: SimulatedConfig,
    features: FeaturesConfig,
) -> tuple[dict[str, pl.DataFrame], MarketFacts]:
    """Write one text state per symbol and session, and note which parameters made them."""
    check_market(ingest_facts, market_facts(data_config, news_config, simulated))
    states, report = build_market_states(
        prices,
        news,
        digest_sessions=features.digest_sessions,
        digest_chars=features.digest_chars,
        article_chars=features.article_chars,
    )
    logger.info("%d market states from %d articles", report.num_states, report.num_articles)
    logger.info(
        "%d articles came after the last decision, %d were left out by features.digest_chars",
        report.num_articles_after_last_decision,
        report.num_articles_beyond_budget,
    )
    return states, market_facts(data_config, news_config, simulated, features)
