"""Nodes of the reproduce pipeline."""

import logging
import time
from typing import Any

import polars as pl

from flag_kedro.data.config import DataConfig
from flag_kedro.data.investorbench import existing_folder, read_available
from flag_kedro.errors import ParameterError
from flag_kedro.published.findings import audit_as_json
from flag_kedro.published.page import render_page
from flag_kedro.published.results import SOURCE, choose_symbols, why_skipped
from flag_kedro.published.rows import reproduce_rows
from flag_kedro.published.table import audit_table
from flag_kedro.tracking.log import log_metrics

logger = logging.getLogger(__name__)


def read_published_prices(data: DataConfig) -> tuple[dict[str, pl.DataFrame], dict[str, str]]:
    """Read InvestorBench's files in `data.path`, whatever `data.source` is; windows and calendars are the benchmark's.

    Returns:
        Prices by symbol, and why each other symbol is left out.
    """
    if data.path is None:
        raise ParameterError(
            "data.path: reproduce reads InvestorBench's JSON files, and no folder was given; "
            'kedro run --pipelines=reproduce --params="data.path=DIR"'
        )
    prices, absent = read_available(existing_folder(data.path), choose_symbols(data.symbols))
    skipped = {symbol: why_skipped(symbol) for symbol in absent}
    for symbol, reason in skipped.items():
        logger.warning("%s skipped: %s", symbol, reason)
    return prices, skipped


def rebuild_published_rows(prices: dict[str, pl.DataFrame], skipped: dict[str, str]) -> dict[str, Any]:
    """Recompute the published Buy & Hold rows and log them."""
    rows = reproduce_rows(prices)
    metrics = {
        f"reproduce/{symbol}/{metric}": value
        for symbol, row in rows.items()
        for metric, value in row.recomputed.items()
        if value is not None
    }
    log_metrics(metrics, 0, int(time.time() * 1000))
    return {"source": SOURCE, "rows": {symbol: row.as_dict() for symbol, row in rows.items()}, "skipped": skipped}


def audit_published_table(prices: dict[str, pl.DataFrame], published_rows: dict[str, Any]) -> dict[str, Any]:
    """Audit every row of the published table."""
    return audit_as_json(audit_table(prices), published_rows["rows"], published_rows["skipped"])


def draw_published_page(published_rows: dict[str, Any], published_audit: dict[str, Any]) -> str:
    """Write both as a page."""
    return render_page(published_rows, published_audit)
