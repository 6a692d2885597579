"""Which parameters and tables the data on disk were made with, so that stages never mix two runs."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from hashlib import sha256
from typing import Any

import polars as pl
from pydantic import TypeAdapter

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.data.simulated.config import MarketRule
from flag_kedro.errors import DataError, MadeOtherwiseError
from flag_kedro.features.config import FeaturesConfig

MarketFacts = dict[str, dict[str, Any]]
OFF = {field.name: field.default for field in fields(MarketRule) if field.default is not MISSING}
"""What simulated markets were made with that do not say it, since they were made before there was a choice."""


def market_facts(
    data: DataConfig, news: NewsConfig, simulated: SimulatedConfig, features: FeaturesConfig | None = None
) -> MarketFacts:
    """The parameters that shape the tables of ingest, and those of features if given."""
    chosen = {name: value for name, value in _as_json(data).items() if name not in ("path", "windows")}
    facts = {"data": chosen, "news": {name: value for name, value in _as_json(news).items() if name != "path"}}
    if data.source == "simulated":
        facts["simulated"] = _as_json(simulated.rule())  # a preset may come to mean other numbers
    return facts | ({} if features is None else {"features": _as_json(features)})


def tables_hash(
    prices: pl.DataFrame, news: pl.DataFrame, universe: pl.DataFrame, names: Mapping[str, list[str]]
) -> str:
    """A hash of all that one ingest hands on, the same as long as polars is."""
    digest = sha256(json.dumps(names, sort_keys=True).encode())
    for table in (prices, news, universe):
        digest.update(table.hash_rows().to_numpy().tobytes())
    return digest.hexdigest()


def check_tables(recorded: MarketFacts, tables: str) -> None:
    """Refuse tables that two runs of ingest left, of which the second was cut short.

    Raises:
        DataError: when their hash, `tables`, is not what `recorded` was written with.
    """
    if recorded.get("tables", {}).get("sha256") != tables:
        raise DataError(
            "02_intermediate: prices, news, universe and company names are not what one run of ingest saved last: "
            "it was cut short, or one was changed by hand. Run it again: kedro run, or kedro run --pipelines=ingest"
        )


def check_market(recorded: MarketFacts, expected: MarketFacts) -> None:
    """Refuse tables on disk that other parameters made.

    Raises:
        MadeOtherwiseError: naming each parameter, what made the data and what is asked for now.
    """
    if "simulated" in recorded:
        recorded = recorded | {"simulated": OFF | recorded["simulated"]}
    made = {f"{group}.{name}": value for group, values in recorded.items() for name, value in values.items()}
    lines = {
        f"{group}.{name}": f"made with {made.get(f'{group}.{name}')!r}, now {value!r}"
        for group, values in expected.items()
        for name, value in values.items()
        if made.get(f"{group}.{name}") != value
    }
    if lines:
        listed = "\n  ".join(f"{name}: {difference}" for name, difference in lines.items())
        raise MadeOtherwiseError(
            f"the data on disk were made with other parameters:\n  {listed}\n"
            "Make them anew (kedro run, or --pipelines=ingest and --pipelines=features), or give the same parameters",
            {name: made[name] for name in lines} if lines.keys() <= made.keys() else None,
        )


def _as_json(config: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = TypeAdapter(type(config)).dump_python(config, mode="json")
    return dumped
