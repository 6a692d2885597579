"""Nodes of the features pipeline."""

import logging
from dataclasses import asdict

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.features.ablation import unnamed
from flag_kedro.features.incremental import Record, StatesUpdate, update_market_states
from flag_kedro.features.market_tables import MarketTables
from flag_kedro.features.provenance import MarketFacts, check_market, check_tables, market_facts, tables_hash

logger = logging.getLogger(__name__)


def build_features(
    tables: MarketTables,
    earlier_market_states: dict[str, Record],
    ingest_facts: MarketFacts,
    data_config: DataConfig,
    news_config: NewsConfig,
    simulated: SimulatedConfig,
) -> tuple[StatesUpdate, MarketFacts]:
    """Write one text state per symbol and session where something changed, and note which parameters made them."""
    features = tables.features
    check_market(ingest_facts, market_facts(data_config, news_config, simulated))
    check_tables(ingest_facts, tables_hash(tables.prices, tables.news, tables.universe, tables.names))
    update = update_market_states(
        tables.prices,
        tables.news,
        names=tables.names,
        universe=tables.universe,
        earlier=earlier_market_states,
        **asdict(features),
    )
    report = update.report()
    logger.info("%d of %d symbols recomputed", len(update.tables), len(update.records))
    if features.ablation == "mask_names" and (missing := unnamed(list(update.records), tables.names)):
        logger.warning("mask_names masks the tickers of %s only: no name of theirs is known", " ".join(missing))
    logger.info("%d market states from %d articles", report.num_states, report.num_articles)
    logger.info(
        "%d articles came after the last decision; states left %d out and cut %d short (features.digest_chars)",
        report.num_articles_after_last_decision,
        report.num_articles_beyond_budget,
        report.num_articles_cut,
    )
    return update, market_facts(data_config, news_config, simulated, features)
