"""Only changed symbols are built anew, and the outcome is what building everything gives."""

import json
import logging
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.data.universe import UNIVERSE
from flag_kedro.datasets.folders import RECORDS, SymbolRecords, SymbolTables
from flag_kedro.features import fingerprint
from flag_kedro.features.incremental import update_market_states
from flag_kedro.features.market_state import build_market_states

CONFIG = SimulatedConfig(market="easy", first_session=date(2021, 1, 4), last_session=date(2021, 3, 31))
MARKET = simulate_market(("ALDR", "BRIX", "FJRD"), CONFIG, 0)
SETTINGS = {"digest_sessions": 2, "digest_chars": 200, "article_chars": 100, "min_article_chars": 40}
NAMES = {"ALDR": ("Alder Foods",)}
NOBODY = pl.DataFrame(schema=UNIVERSE)
ALL_ALWAYS = pl.DataFrame({"symbol": ["ALDR", "BRIX", "FJRD"]}).with_columns(
    pl.lit(None, dtype=pl.Date).alias(name) for name in ("first", "last", "delisted")
)
OF_BRIX = pl.col("symbol") == "BRIX"
THAT_ROW = OF_BRIX & (pl.int_range(pl.len()).over("symbol") == 55)


def run(
    folder: Path, prices=MARKET.prices, news=MARKET.news, names=NAMES, universe=NOBODY, **settings: int
) -> list[str]:
    """What the features node does; returns the symbols that were built."""
    earlier = SymbolRecords(filepath=str(folder)).load()
    update = update_market_states(
        prices, news, names=names, universe=universe, earlier=earlier, **(SETTINGS | settings)
    )
    SymbolTables(filepath=str(folder)).save(update)
    _, report = build_market_states(prices, news, names=names, universe=universe, **(SETTINGS | settings))
    assert update.report() == report
    return list(update.tables)


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def one_row_of_brix(column: str, value: pl.Expr, table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(pl.when(THAT_ROW).then(value).otherwise(pl.col(column)).alias(column))


EVERYTHING = ["ALDR", "BRIX", "FJRD"]
CHANGES = {
    "nothing": ({}, []),
    "an article": ({"news": one_row_of_brix("headline", pl.lit("Brixton Steel burns"), MARKET.news)}, ["BRIX"]),
    "an article fewer": ({"news": MARKET.news.filter(~THAT_ROW)}, ["BRIX"]),
    "no articles": ({"news": MARKET.news.filter(~OF_BRIX)}, ["BRIX"]),
    "a price": ({"prices": one_row_of_brix("volume", pl.col("volume") + 1, MARKET.prices)}, ["BRIX"]),
    "a name": ({"names": NAMES | {"BRIX": ("steel",)}}, ["BRIX"]),
    "a universe": ({"universe": ALL_ALWAYS}, EVERYTHING),
    "a parameter": ({"digest_chars": 150}, EVERYTHING),
    "a symbol fewer": ({"prices": MARKET.prices.filter(~OF_BRIX), "news": MARKET.news.filter(~OF_BRIX)}, []),
    "the source of an article": ({"news": MARKET.news.with_columns(source=pl.lit("wire"))}, []),
}


@pytest.mark.parametrize("name", CHANGES)
def test_update_is_byte_for_byte_what_building_everything_gives(name, tmp_path):
    change, built = CHANGES[name]
    assert run(tmp_path / "updated") == EVERYTHING
    assert run(tmp_path / "updated", **change) == built
    run(tmp_path / "anew", **change)
    assert files(tmp_path / "updated") == files(tmp_path / "anew")


def test_symbol_that_joins_is_built_alone(tmp_path):
    without = {"prices": MARKET.prices.filter(~OF_BRIX), "news": MARKET.news.filter(~OF_BRIX)}
    assert run(tmp_path / "updated", **without) == ["ALDR", "FJRD"]
    assert run(tmp_path / "updated") == ["BRIX"]
    run(tmp_path / "anew")
    assert files(tmp_path / "updated") == files(tmp_path / "anew")


def test_member_that_leaves_is_built_alone(tmp_path):
    leaves = pl.when(pl.col("symbol") == "BRIX").then(date(2021, 2, 1)).otherwise(pl.col("last"))
    run(tmp_path, universe=ALL_ALWAYS)
    assert run(tmp_path, universe=ALL_ALWAYS.with_columns(last=leaves)) == ["BRIX"]
    table = pl.read_parquet(tmp_path / "BRIX.parquet")
    assert table.filter("member")["session"].max() == date(2021, 2, 1)


def test_unchanged_tables_are_not_written_again(tmp_path):
    folder = tmp_path / "states"
    run(folder)
    before = {file.stem: file.stat().st_ino for file in folder.glob("*.parquet")}
    run(folder, names=NAMES | {"BRIX": ("steel",)})
    after = {file.stem: file.stat().st_ino for file in folder.glob("*.parquet")}
    assert [symbol for symbol in before if before[symbol] != after[symbol]] == ["BRIX"]


def test_tables_load_as_they_were_built(tmp_path):
    run(tmp_path / "states")
    run(tmp_path / "states", names=NAMES | {"BRIX": ("steel",)})
    states, _ = build_market_states(MARKET.prices, MARKET.news, names=NAMES | {"BRIX": ("steel",)}, **SETTINGS)
    loaded = SymbolTables(filepath=str(tmp_path / "states")).load()
    assert list(loaded) == list(states)
    assert all(loaded[symbol].equals(states[symbol]) for symbol in states)


def test_changed_code_makes_everything_anew(tmp_path, monkeypatch):
    run(tmp_path / "states")
    monkeypatch.setattr(fingerprint, "code_hash", lambda: "another")
    assert run(tmp_path / "states") == EVERYTHING


def test_code_is_known_by_every_character_of_it(tmp_path):
    file = tmp_path / "digest.py"
    hashes = []
    for code in ("a = 1\n", "a = 2\n"):
        file.write_text(code)
        hashes.append(fingerprint._hash_code([file]))
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize("file", ["features/names.py", "data/streams.py", "data/text.py"])
def test_all_code_that_draws_or_cleans_counts(file, monkeypatch):
    read = Path.read_bytes
    current = fingerprint.code_hash.__wrapped__()
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"#" * path.as_posix().endswith(file))
    assert fingerprint.code_hash.__wrapped__() != current


def test_version_of_unicode_counts(monkeypatch):
    current = fingerprint.code_hash.__wrapped__()
    monkeypatch.setattr(fingerprint, "unidata_version", "0.0")
    assert fingerprint.code_hash.__wrapped__() != current


def test_damaged_or_missing_table_is_made_anew_and_said(tmp_path, caplog):
    folder = tmp_path / "states"
    run(folder)
    whole = files(folder)
    table = folder / "BRIX.parquet"
    table.write_bytes(table.read_bytes()[:-9])
    (folder / "FJRD.parquet").unlink()
    with caplog.at_level(logging.WARNING):
        assert run(folder) == ["BRIX", "FJRD"]
    assert "BRIX.parquet is not as it was saved" in caplog.text
    assert files(folder) == whole


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"ALDR": 3}', '{"ALDR": {"fingerprint": "x"}}'])
def test_damaged_notes_make_everything_anew(content, tmp_path, caplog):
    folder = tmp_path / "states"
    run(folder)
    whole = files(folder)
    (folder / RECORDS).write_text(content)
    with caplog.at_level(logging.WARNING):
        assert run(folder) == EVERYTHING
    assert RECORDS in caplog.text
    assert files(folder) == whole


def test_tables_saved_without_notes_are_made_anew(tmp_path):
    states, _ = build_market_states(MARKET.prices, MARKET.news, names=NAMES, **SETTINGS)
    SymbolTables(filepath=str(tmp_path / "states")).save(states)
    assert list(json.loads((tmp_path / "states" / RECORDS).read_text())) == EVERYTHING
    assert run(tmp_path / "states") == EVERYTHING


def test_failed_save_leaves_what_was_there(tmp_path):
    folder = tmp_path / "states"
    run(folder)
    whole = files(folder)
    update = update_market_states(MARKET.prices, MARKET.news, names=NAMES, universe=NOBODY, earlier={}, **SETTINGS)
    update.tables["FJRD"] = None  # cannot be written
    with pytest.raises(Exception, match="write_parquet"):
        SymbolTables(filepath=str(folder)).save(update)
    assert files(folder) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["states"]
