"""Market states of those symbols only for which something has changed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TypedDict, Unpack

import polars as pl

from flag_kedro.features.fingerprint import fingerprint_symbols
from flag_kedro.features.market_state import FeatureReport, Names, StateSettings, add_reports, build_by_symbol


class Record(TypedDict, total=False):
    """Entry of a symbol in `fingerprints.json`; empty for a table of unknown making."""

    fingerprint: str
    """Hash of all that shapes the symbol's states (`fingerprint_symbols`)."""
    report: dict[str, int]
    """Fields of `FeatureReport`."""
    sha256: str
    """Of the saved table."""


@dataclass(frozen=True)
class StatesUpdate:
    """Tables that were built anew, and records of all symbols; a table that is not here stays as it was saved."""

    tables: dict[str, pl.DataFrame]
    """Market states by symbol, columns of `market_state.MARKET_STATE`."""
    records: dict[str, Record]
    """By symbol, in the order of the prices."""

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
    **settings: Unpack[StateSettings],
) -> StatesUpdate:
    """Build the states of every symbol whose fingerprint is not that of its earlier table.

    Args:
        prices: the validated table.
        news: the validated table.
        names: what articles call a symbol.
        universe: columns of `data.universe.UNIVERSE`.
        earlier: records of the tables that were saved before, by symbol.
        **settings: as `build_market_states`.

    Returns:
        The new tables, and the records of all symbols in `prices`.

    Raises:
        DataError: as `build_market_states`.
    """
    fingerprints = fingerprint_symbols(prices, news, names, settings, universe)
    if settings.get("ablation") == "mask_names":  # masks the names of all symbols in the articles of each
        earlier = {}
    changed = [
        symbol for symbol in fingerprints if earlier.get(symbol, Record()).get("fingerprint") != fingerprints[symbol]
    ]
    is_changed = pl.col("symbol").is_in(changed)
    tables, reports = build_by_symbol(
        prices.filter(is_changed), news.filter(is_changed), names=names, universe=universe, **settings
    )
    records = {symbol: earlier.get(symbol, Record()) for symbol in fingerprints}
    records |= {name: {"fingerprint": fingerprints[name], "report": asdict(reports[name])} for name in changed}
    return StatesUpdate(tables, records)
