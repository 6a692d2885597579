"""Streamed states are, to the byte, those that whole tables give; what has not changed is not made again."""

import shutil
from dataclasses import asdict
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from flag_kedro.data.market import MarketConfig, load_market
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.data.streamed.ingest import StreamConfig, stream_market
from flag_kedro.data.streamed.store import MarketStore
from flag_kedro.datasets.folders import SymbolTables
from flag_kedro.errors import DataError, ParameterError
from flag_kedro.features import streamed
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.features.market_state import build_market_states
from flag_kedro.features.selected import select_market
from flag_kedro.features.streamed import StateStore, StreamedStates, stream_states
from streamed_market import NOW, SYMBOLS, articles, config_of, write_news, write_prices


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


QUICK = "as they are", "from the first session on"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in FEATURES]
)
def test_streamed_states_are_byte_for_byte_those_of_whole_tables(sources, name):
    config, features = config_of(sources), FeaturesConfig(**FEATURES[name])
    stream(config, sources, features)
    states = StateStore(sources / "states")
    assert list(states) == sorted(SYMBOLS)
    expected = whole(config, sources, features)
    assert files(sources / "a", dict(states)) == files(sources / "b", expected)


def made(folder: Path) -> dict[str, bytes]:
    """Every partition of states."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in (folder / "states").rglob("*.parquet")}


def is_as_whole(config: StreamConfig, folder: Path, features: FeaturesConfig) -> bool:
    states = dict(StateStore(folder / "states"))
    return files(folder / "a", states) == files(folder / "b", whole(config, folder, features))


def test_new_day_makes_the_last_year_of_its_symbols_alone(tmp_path):
    config, features = config_of(tmp_path), FeaturesConfig(digest_sessions=2)
    day = date(2023, 1, 12)
    write_prices(tmp_path / "prices", last=day)
    write_news(tmp_path / "news")
    stream(config, tmp_path, features)
    before = made(tmp_path)
    write_prices(tmp_path / "all")
    later = pl.concat(pl.read_parquet(file) for file in sorted((tmp_path / "all").iterdir()))
    later.filter(pl.col("session") > day, pl.col("symbol") == "ACME").write_parquet(tmp_path / "prices" / "zz.parquet")
    update = stream(config, tmp_path, features)
    after = made(tmp_path)
    assert {name for name in before | after if before.get(name) != after.get(name)} == {
        "states/symbol=ACME/2023.parquet"
    }
    assert (update.symbols_built, update.partitions_built) == (1, 1)
    assert update.num_states == sum(len(states) for states in StateStore(tmp_path / "states").values())
    assert is_as_whole(config, tmp_path, features)
    assert stream(config, tmp_path, features).partitions_built == 0


def test_late_article_makes_its_year_and_what_still_shows_it(sources):
    config, features = config_of(sources), FeaturesConfig(digest_sessions=5)
    stream(config, sources, features)
    late = articles()[:1].with_columns(
        Date=pl.lit("2022-12-30 15:00:00 UTC"), Article_title=pl.lit("Acme sells a plant"), Stock_symbol=pl.lit("ACME")
    )
    late.write_parquet(sources / "news" / "late.parquet")
    before = made(sources)
    stream(config, sources, features)
    after = made(sources)
    assert {name for name in before if before[name] != after[name]} == {
        f"states/symbol=ACME/{year}.parquet" for year in (2022, 2023)
    }
    assert is_as_whole(config, sources, features)


def test_adjustment_of_all_earlier_prices_makes_all_years_anew(sources):
    config, features = config_of(sources), FeaturesConfig()
    stream(config, sources, features)
    path = sources / "prices" / "prices_4.parquet"
    table = pl.read_parquet(path).with_columns(adj_close=pl.col("adj_close") / 2)
    table.write_parquet(path)
    update = stream(config, sources, features)
    assert (update.symbols_built, update.partitions_built) == (2, 6)
    assert is_as_whole(config, sources, features)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["removed", "cut short"])
def test_partition_that_is_not_as_it_was_written_is_made_again(sources, fault):
    config, features = config_of(sources), FeaturesConfig()
    stream(config, sources, features)
    before = made(sources)
    file = sources / "states" / "symbol=Q" / "2022.parquet"
    if fault == "removed":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-100])
    late = articles()[:1].with_columns(Date=pl.lit("2023-01-03 15:00:00 UTC"), Stock_symbol=pl.lit("Q"))
    late.write_parquet(sources / "news" / "late.parquet")  # so that the bucket is looked at
    stream(config, sources, features)
    assert made(sources)["states/symbol=Q/2022.parquet"] == before["states/symbol=Q/2022.parquet"]


def test_run_killed_amid_the_states_and_run_again_is_one_that_was_not_killed(sources, monkeypatch):
    config, features = config_of(sources), FeaturesConfig()
    stream(config, sources, features)
    before = made(sources)
    shutil.rmtree(sources / "states")
    original, left = streamed._size, [8]

    def fails(file: Path) -> int | None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return original(file)

    with monkeypatch.context() as patch:
        patch.setattr(streamed, "_size", fails)
        with pytest.raises(KeyboardInterrupt):
            stream(config, sources, features)
    with pytest.raises(DataError, match="cut short"):
        dict(StateStore(sources / "states"))
    stream(config, sources, features)
    assert made(sources) == before


def test_states_and_tables_of_chosen_symbols_are_taken_out_and_no_others_read(sources):
    config, features = config_of(sources), FeaturesConfig()
    report = asdict(stream_market(config, sources / "market", NOW))
    stream(config, sources, features)
    for name in ("symbol=ACME", "symbol=BTC-USD"):
        for file in (sources / "states" / name).iterdir():
            file.write_bytes(b"no Parquet")
    chosen = config_of(sources, data={"symbols": ("Q", "BRK-B")})
    selected = select_market(sources / "market", sources / "states", chosen, features, report)
    expected = whole(config, sources, features)
    assert list(selected.states) == ["BRK-B", "Q"]
    assert all(selected.states[name].equals(expected[name]) for name in selected.states)
    assert set(selected.prices["symbol"]) == set(selected.news["symbol"]) == {"BRK-B", "Q"}
    assert list(selected.report["symbols"]) == ["BRK-B", "Q"]


def test_other_parameters_or_symbols_than_the_stores_are_refused_by_name(sources):
    config, features = config_of(sources), FeaturesConfig()
    stream(config, sources, features)

    def select(given: StreamConfig, features: FeaturesConfig) -> None:
        select_market(sources / "market", sources / "states", given, features, {})

    with pytest.raises(ParameterError, match=r"features\.digest_sessions: made with 1, now 3"):
        select(config, FeaturesConfig(digest_sessions=3))
    with pytest.raises(ParameterError, match=r"news\.duplicate_sessions: made with 3, now 7"):
        select(config_of(sources, news={"duplicate_sessions": 7}), features)
    with pytest.raises(ParameterError, match=r"the store has no NOBODY"):
        select(config_of(sources, data={"symbols": ("NOBODY",)}), features)


def test_shuffled_news_are_refused_where_articles_are_not_held(sources):
    with pytest.raises(ParameterError, match="shuffle_news"):
        stream_states(MarketStore(sources / "market"), sources / "states", FeaturesConfig(ablation="shuffle_news"))


def test_universe_is_that_of_whole_tables(sources):
    (sources / "universe.csv").write_text(
        "symbol,first,last,delisted\nACME,,,\nBRK-B,2022-03-01,,\nQ,,2022-08-01,\n", encoding="utf-8"
    )
    config = config_of(sources, data={"universe": str(sources / "universe.csv"), "max_left_out": 0.9})
    stream(config, sources, FeaturesConfig())
    assert set(StateStore(sources / "states")["Q"]["member"]) == {True, False}
    assert is_as_whole(config, sources, FeaturesConfig())
