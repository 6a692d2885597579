"""Streamed states after symbols, articles and years came and went: those of whole tables."""

from dataclasses import asdict
from pathlib import Path

import polars as pl
import pytest

from flag_kedro.data.market import MarketConfig, load_market
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.data.streamed.ingest import StreamConfig, stream_market
from flag_kedro.data.streamed.store import MarketStore
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_state import build_market_states
from flag_kedro.features.selected import select_market
from flag_kedro.features.streamed import StateStore, stream_states
from streamed_market import NOW, articles, config_of, write_news, write_prices

FEATURES = FeaturesConfig()


def stream(config: StreamConfig, folder: Path) -> None:
    stream_market(config, folder / "market", NOW)
    stream_states(MarketStore(folder / "market"), folder / "states", FEATURES)


def is_as_whole(config: StreamConfig, folder: Path) -> bool:
    market = load_market(MarketConfig(config.data, config.news, SimulatedConfig(), config.files), folder, NOW)
    expected, _ = build_market_states(market.prices, market.news, names=market.names, **asdict(FEATURES))
    states = StateStore(folder / "states")
    return list(states) == sorted(expected) and all(states[name].equals(expected[name]) for name in states)


def partitions(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder / "states")) for file in (folder / "states").rglob("*.parquet"))


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    write_prices(tmp_path / "prices")
    write_news(tmp_path / "news")
    return tmp_path


def test_symbols_that_were_left_out_for_a_run_are_there_again(sources):
    every, one = config_of(sources), config_of(sources, data={"symbols": ("Q",), "max_left_out": 1.0})
    stream(every, sources)
    before = partitions(sources)
    stream(one, sources)
    assert {name.partition("/")[0] for name in partitions(sources)} == {"symbol=Q"}
    stream(every, sources)
    assert partitions(sources) == before
    assert is_as_whole(every, sources)


def test_year_whose_prices_are_gone_leaves_no_states_though_the_run_was_killed(sources, monkeypatch):
    config = config_of(sources)
    stream(config, sources)
    for file in (sources / "prices").iterdir():
        pl.read_parquet(file).filter(pl.col("session").dt.year() > 2021).write_parquet(file)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("flag_kedro.features.streamed.build_by_symbol", killed)
        with pytest.raises(KeyboardInterrupt):
            stream(config, sources)
    stream(config, sources)
    assert not [name for name in partitions(sources) if name.endswith("2021.parquet")]
    assert is_as_whole(config, sources)


@pytest.mark.parametrize("universe", [False, True])
def test_choice_of_symbols_is_warned_of_as_by_ingest(sources, universe):
    given = {}
    if universe:
        (sources / "universe.csv").write_text("symbol,first,last,delisted\nACME,,,\nQ,,2022-08-01,\n", encoding="utf-8")
        given = {"universe": str(sources / "universe.csv"), "max_left_out": 0.9}
    config = config_of(sources, data=given | {"max_left_out": 0.9})
    report = asdict(stream_market(config, sources / "market", NOW))
    stream_states(MarketStore(sources / "market"), sources / "states", FEATURES)
    chosen = config_of(sources, data=given | {"symbols": ("ACME",), "max_left_out": 0.9})
    selected = select_market(sources / "market", sources / "states", chosen, FEATURES, report)
    market = load_market(MarketConfig(chosen.data, chosen.news, SimulatedConfig(), chosen.files), sources, NOW)
    assert selected.report["warnings"][0] == market.report.warnings[0]
    assert market.report.warnings[0].startswith("symbols were chosen with knowledge")
    assert stream_market(chosen, sources / "one", NOW).warnings[0] == market.report.warnings[0]


def test_symbol_without_an_article_is_named_when_it_is_chosen(sources):
    kept = articles().filter(pl.col("Stock_symbol") == "ACME")
    write_news(sources / "news", kept)
    config = config_of(sources, data={"max_left_out": 0.9})
    report = asdict(stream_market(config, sources / "market", NOW))
    stream_states(MarketStore(sources / "market"), sources / "states", FEATURES)
    chosen = config_of(sources, data={"symbols": ("ACME", "Q"), "max_left_out": 0.9})
    selected = select_market(sources / "market", sources / "states", chosen, FEATURES, report)
    assert "no article at all for Q" in selected.report["warnings"]


def test_folder_named_with_what_patterns_are_made_of_is_read(tmp_path):
    folder = tmp_path / "runs[1] *"
    write_prices(folder / "prices")
    write_news(folder / "news", articles(50))
    config = config_of(folder)
    stream(config, folder)
    assert is_as_whole(config, folder)
