"""What a streamed ingest says of the data: counts that add up, coverage of each symbol, warnings."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import polars as pl

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.files.symbols import describe_left_out, left_out_facts
from flag_kedro.data.market import survivorship
from flag_kedro.data.report import SymbolCoverage, coverage_warnings
from flag_kedro.data.streamed.reading import sum_facts
from flag_kedro.data.streamed.units import Unit


@dataclass(frozen=True)
class StreamReport:
    """Facts of a streamed market; its fields in this order are the report's JSON."""

    articles: dict[str, int]
    """`rows` of the sources; articles (one for each symbol that a row is about) `read`, of which `left_out` broke a
    rule or could not be read, `folded` are duplicates of others, and `kept` are in the tables."""
    prices: dict[str, int]
    """`rows` of the sources about wanted symbols, `left_out` and `kept`."""
    num_rejected: dict[str, int]
    """Rows left out, by rule."""
    symbols: dict[str, Any]
    """Fields of `data.report.SymbolCoverage` by symbol."""
    warnings: list[str]
    source: dict[str, Any]
    """Facts of the articles, as the data report has them."""


def report_market(
    chosen: tuple[str, ...] | None,
    data: DataConfig,
    news: NewsConfig,
    price_units: Sequence[Unit],
    news_units: Sequence[Unit],
    records: Mapping[int, Mapping[str, Any]],
    universe: pl.DataFrame,
) -> StreamReport:
    """Sum up all units and buckets.

    Args:
        chosen: symbols that a user named, None for all.
        data: parameters.
        news: parameters.
        price_units: all units of prices.
        news_units: all units of news.
        records: of all buckets.
        universe: columns of `universe.UNIVERSE`.
    """
    years = [year for record in records.values() for year in record["news"].values()]
    staged, kept = sum(unit.kept for unit in news_units), sum(year["rows"] for year in years)
    left_out = sum(unit.rejected for unit in news_units)
    articles = {
        "rows": sum(unit.rows for unit in news_units),
        "read": staged + left_out,
        "left_out": left_out,
        "folded": sum(sum(year["folded"].values()) for year in years),
        "kept": kept,
    }
    price_years = [year for record in records.values() for year in record["prices"].values()]
    prices = {
        "rows": sum(unit.rows + unit.rejected for unit in price_units),
        "left_out": sum(unit.rejected for unit in price_units)
        + sum(record["rejected"]["rows"] for record in records.values()),
        "repeated": sum(sum(record["repeats"].values()) for record in records.values()),
        "kept": sum(year["rows"] for year in price_years),
    }
    rules = Counter[str]()
    for counted in (
        *(unit.rules for unit in (*price_units, *news_units)),
        *(r["rejected"]["rules"] for r in records.values()),
    ):
        rules.update(counted)
    coverage = {symbol: facts for record in records.values() for symbol, facts in record["coverage"].items()}
    described = {symbol: SymbolCoverage(**coverage[symbol]) for symbol in sorted(coverage)}
    tally, times = sum_facts([unit.facts for unit in news_units])
    warnings = describe_left_out(tally, list(described), news) if news_units else []
    warnings += coverage_warnings(described, dict(rules))
    warnings += [line for record in records.values() for line in record["halts"]]
    first = min(date.fromisoformat(facts.first) for facts in described.values())
    if survivors := survivorship(chosen, data, universe, first):
        warnings.insert(0, survivors)
    source = {"source": news.source, "path": news.path} | asdict(times) | left_out_facts(tally)
    return StreamReport(articles, prices, dict(rules), {n: asdict(f) for n, f in described.items()}, warnings, source)
