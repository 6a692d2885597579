"""Streamed states are, to the byte, those that whole tables give; what has not changed is not made again."""

from dataclasses import asdict
from pathlib import Path

import polars as pl
import pytest

from flag_kedro.data.market import MarketConfig, load_market
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.data.streamed.ingest import StreamConfig, stream_market
from flag_kedro.data.streamed.store import MarketStore
from flag_kedro.datasets.folders import SymbolTables
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_state import build_market_states
from flag_kedro.features.streamed import StateStore, StreamedStates, stream_states
from streamed_market import NOW, SYMBOLS, config_of, write_news, write_prices


def stream(config: StreamConfig, folder: Path, features: FeaturesConfig) -> StreamedStates:
    stream_market(config, folder / "market", NOW)
    return stream_states(MarketStore(folder / "market"), folder / "states", features)


def whole(config: StreamConfig, folder: Path, features: FeaturesConfig) -> dict[str, pl.DataFrame]:
    market = load_market(MarketConfig(config.data, config.news, SimulatedConfig(), config.files), folder, NOW)
    states, _ = build_market_states(
        market.prices, market.news, names=market.names, universe=market.universe, **asdict(features)
    )
    return states


def files(folder: Path, states: dict[str, pl.DataFrame]) -> dict[str, bytes]:
    SymbolTables(filepath=str(folder)).save(states)
    return {file.name: file.read_bytes() for file in folder.glob("*.parquet")}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    write_prices(tmp_path / "prices")
    write_news(tmp_path / "news")
    return tmp_path


FEATURES = {
    "as they are": {},
    "five sessions of news": {"digest_sessions": 5},
    "sixty sessions of news": {"digest_sessions": 60},
    "from the first session on": {"warm_up": "partial", "digest_sessions": 3},
    "names masked": {"ablation": "mask_names"},
    "no prices": {"ablation": "no_prices"},
}


@pytest.mark.parametrize("name", FEATURES)
def test_streamed_states_are_byte_for_byte_those_of_whole_tables(sources, name):
    config, features = config_of(sources), FeaturesConfig(**FEATURES[name])
    stream(config, sources, features)
    states = StateStore(sources / "states")
    assert list(states) == sorted(SYMBOLS)
    expected = whole(config, sources, features)
    assert files(sources / "a", dict(states)) == files(sources / "b", expected)
