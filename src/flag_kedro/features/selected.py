"""Some symbols of a streamed market, as the pipelines ingest and features would have made them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from flag_kedro.data.market import survivorship
from flag_kedro.data.report import SymbolCoverage, coverage_warnings
from flag_kedro.data.streamed.ingest import StreamConfig, as_json
from flag_kedro.data.streamed.store import MarketStore
from flag_kedro.errors import DataError, ParameterError
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.streamed import StateStore

FREE = ("symbols", "chosen_on")
"""Parameters of `data` that may differ from those of the store."""


@dataclass(frozen=True)
class SelectedMarket:
    """Tables and states of chosen symbols."""

    prices: pl.DataFrame
    """Columns of `schema.PRICES`."""
    news: pl.DataFrame
    """Columns of `schema.NEWS`."""
    universe: pl.DataFrame
    names: dict[str, list[str]]
    report: dict[str, Any]
    """Fields of `data.report.DataReport`."""
    states: StateStore
    """Read symbol by symbol, when they are asked for."""


def select_market(
    market_folder: Path,
    state_folder: Path,
    config: StreamConfig,
    features: FeaturesConfig,
    stream_report: Mapping[str, Any],
) -> SelectedMarket:
    """The symbols of `data.symbols`, all where it is null; no file of another symbol's states is opened.

    Args:
        market_folder: of the market store.
        state_folder: of the state store.
        config: parameters; those that shape rows must be the store's.
        features: parameters; they must be the store's.
        stream_report: fields of `data.streamed.report.StreamReport`.

    Raises:
        ParameterError: naming parameters that the stores were made with otherwise, or symbols that they lack.
        DataError: when a store is not whole, or the states were made of other tables.
    """
    market, states = MarketStore(market_folder), StateStore(state_folder)
    made, built = market.manifest, states.manifest
    _refuse_others(made["reading"] | {"features": built["features"]}, config.reading | {"features": as_json(features)})
    if built["market"] != made["tables"]:
        raise DataError(
            f"{state_folder} was made of other tables than those in {market_folder}; bring both up to date: kedro run "
            "--pipelines=stream"
        )
    symbols = sorted(config.data.symbols or made["symbols"])
    if missing := sorted(set(symbols) - set(made["symbols"])):
        raise ParameterError(
            f"data.symbols: the store has no {' '.join(missing)}; it has {len(made['symbols'])} symbols, such as "
            f"{' '.join(made['symbols'][:5])}"
        )
    prices, universe = market.scan("prices", symbols).collect().rechunk(), market.universe
    first = prices["session"].min()
    assert isinstance(first, date)
    survivors = survivorship(config.data.symbols, config.data, universe, first)
    coverage = {symbol: stream_report["symbols"][symbol] for symbol in symbols}
    warnings = coverage_warnings({symbol: SymbolCoverage(**facts) for symbol, facts in coverage.items()}, {})
    warnings += [line for line in stream_report["warnings"] if line.partition(":")[0] in symbols]
    report = {
        "symbols": coverage,
        "num_rejected": {},
        "warnings": list(dict.fromkeys([survivors, *warnings] if survivors else warnings)),
        "source": {"streamed": {"left_out": stream_report["num_rejected"]}, "news": stream_report["source"]},
        "download": {},
    }
    return SelectedMarket(
        prices,
        market.scan("news", symbols).collect().rechunk(),
        universe,
        made["names"],
        report,
        StateStore(state_folder, tuple(symbols)),
    )


def _refuse_others(made: Mapping[str, Mapping[str, Any]], asked: Mapping[str, Mapping[str, Any]]) -> None:
    lines = [
        f"{group}.{name}: made with {made[group].get(name)!r}, now {value!r}"
        for group, values in asked.items()
        for name, value in values.items()
        if made[group].get(name) != value and not (group == "data" and name in FREE)
    ]
    if lines:
        listed = "\n  ".join(lines)
        raise ParameterError(
            f"the stores were made with other parameters:\n  {listed}\nGive the same, or make them anew: kedro run "
            "--pipelines=stream"
        )
