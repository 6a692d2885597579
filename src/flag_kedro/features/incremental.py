"""Market states of those symbols only for which something has changed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from flag_kedro.features.fingerprint import fingerprint_symbols
from flag_kedro.features.market_state import FeatureReport, Names, add_reports, build_by_symbol

Record = dict[str, Any]
"""What is noted about a symbol's table, fit for JSON: its `fingerprint`, and the `report` of building it."""


@dataclass(frozen=True)
class StatesUpdate:
    """Tables that were built anew, and notes on those of all symbols; one that is not here stays as it was saved."""

    tables: dict[str, pl.DataFrame]
    records: dict[str, Record]
    """In the order of the symbols."""

    def report(self) -> FeatureReport:
        """The report over all symbols, as if every table had been built anew."""
        return add_reports(FeatureReport(**record["report"]) for record in self.records.values())


def update_market_states(
    prices: pl.DataFrame,
    news: pl.DataFrame,
    *,
    names: Names,
    universe: pl.DataFrame,
    earlier: Mapping[str, Record],
    **settings: Any,
) -> StatesUpdate:
    """Build the states of every symbol whose fingerprint is not that of its earlier table.

    Args:
        prices: the validated table.
        news: the validated table.
        names: what articles call a symbol.
        universe: columns of `data.universe.UNIVERSE`.
        earlier: records of the tables that are there.
        **settings: parameters of `build_market_states`.

    Raises:
        DataError: as `build_market_states`.
    """
    found = fingerprint_symbols(prices, news, names, settings, universe)
    if settings.get("ablation") == "mask_names":  # masks the names of all symbols in the articles of each
        earlier = {}
    changed = [symbol for symbol in found if earlier.get(symbol, {}).get("fingerprint") != found[symbol]]
    own = pl.col("symbol").is_in(changed)
    tables, reports = build_by_symbol(prices.filter(own), news.filter(own), names=names, universe=universe, **settings)
    records = {symbol: earlier.get(symbol, {}) for symbol in found}
    records |= {name: {"fingerprint": found[name], "report": asdict(reports[name])} for name in changed}
    return StatesUpdate(tables, records)
