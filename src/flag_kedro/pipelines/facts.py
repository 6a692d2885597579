"""What stages must agree on: the parameters that shaped the data on disk, and what a bundle was trained on."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import polars as pl
from pydantic import TypeAdapter

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.market import symbol_calendar
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.data.windows import Windows, resolve_windows
from flag_kedro.env.config import EnvConfig
from flag_kedro.env.window import effective_fill
from flag_kedro.errors import DataError
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_state import data_hash

MarketFacts = dict[str, dict[str, Any]]


def market_facts(
    data: DataConfig, news: NewsConfig, simulated: SimulatedConfig, features: FeaturesConfig | None = None
) -> MarketFacts:
    """The parameters that shape the tables of ingest, and those of features if given."""
    chosen = {name: value for name, value in _as_json(data).items() if name not in ("path", "windows")}
    facts = {"data": chosen, "news": {name: value for name, value in _as_json(news).items() if name != "path"}}
    if data.source == "simulated":
        facts["simulated"] = _as_json(simulated)
    return facts | ({} if features is None else {"features": _as_json(features)})


def tables_hash(
    prices: pl.DataFrame, news: pl.DataFrame, universe: pl.DataFrame, names: Mapping[str, list[str]]
) -> str:
    """A hash of all that one ingest hands on, the same as long as polars is."""
    digest = sha256(json.dumps(names, sort_keys=True).encode())
    for table in (prices, news, universe):
        digest.update(table.hash_rows().to_numpy().tobytes())
    return digest.hexdigest()


def check_tables(found: MarketFacts, tables: str) -> None:
    """Refuse tables that two runs of ingest left, of which the second was cut short.

    Raises:
        DataError: when their hash, `tables`, is not what `found` was written with.
    """
    if found.get("tables", {}).get("sha256") != tables:
        raise DataError(
            "02_intermediate: prices, news, universe and company names are not what one run of ingest saved last: "
            "it was cut short, or one was changed by hand. Run it again: kedro run, or kedro run --pipeline=ingest"
        )


def check_market(found: MarketFacts, expected: MarketFacts) -> None:
    """Refuse tables on disk that other parameters made.

    Raises:
        DataError: naming each parameter, what made the data and what is asked for now.
    """
    lines = [
        f"{group}.{name}: made with {found.get(group, {}).get(name)!r}, now {value!r}"
        for group, values in expected.items()
        for name, value in values.items()
        if found.get(group, {}).get(name) != value
    ]
    if lines:
        listed = "\n  ".join(lines)
        raise DataError(
            f"the data on disk were made with other parameters:\n  {listed}\n"
            "Make them anew (kedro run, or --pipeline=ingest and --pipeline=features), or give the same parameters"
        )


def windows_of(market_states: Mapping[str, pl.DataFrame], data: DataConfig) -> Windows:
    """The windows of a run over these states."""
    return resolve_windows(data, market_states)


def training_facts(market_states: Mapping[str, pl.DataFrame], data: DataConfig, env: EnvConfig) -> dict[str, Any]:
    """The facts on which a bundle and its reader must agree."""
    return {
        **state_facts(market_states, data),
        "windows": windows_of(market_states, data).as_text(),
        "env": asdict(env) | {"fill": effective_fill(env.fill, market_states)},
    }


def state_facts(market_states: Mapping[str, pl.DataFrame], data: DataConfig) -> dict[str, Any]:
    """The facts of the data alone, whatever windows are cut from them."""
    return {
        "symbols": list(market_states),
        "calendars": {symbol: symbol_calendar(symbol, data) for symbol in market_states},
        "data_hash": data_hash(market_states),
    }


def _as_json(config: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = TypeAdapter(type(config)).dump_python(config, mode="json")
    return dumped
