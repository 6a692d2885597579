"""A streamed market: the rows of whole tables, counted exactly, whatever interrupts it; memory holds units."""

import weakref
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.files import FilesConfig
from flag_kedro.data.market import Market, MarketConfig, load_market
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.data.streamed import ingest, partitions, units
from flag_kedro.data.streamed.ingest import StreamConfig, stream_market
from flag_kedro.data.streamed.report import StreamReport
from flag_kedro.data.streamed.store import MANIFEST, Kind, MarketStore
from flag_kedro.data.streamed.units import Piece, Source, committed, stage
from flag_kedro.data.validation import REJECTED
from flag_kedro.errors import DataError, ParameterError
from streamed_market import NOW, SYMBOLS, articles, config_of, write_news, write_prices

KINDS: tuple[Kind, Kind] = ("prices", "news")


class KilledError(Exception):
    """Stands for a kill."""


def table(folder: Path, kind: Kind) -> pl.DataFrame:
    return MarketStore(folder / "market").scan(kind, SYMBOLS).collect()


def stream(config: StreamConfig, folder: Path, now: datetime = NOW) -> StreamReport:
    return stream_market(config, folder / "market", now, lambda _: None)


def whole(config: StreamConfig, folder: Path, now: datetime = NOW) -> Market:
    return load_market(MarketConfig(config.data, config.news, SimulatedConfig(), config.files), folder, now)


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a store."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    """Tables that were written or removed."""
    return {name for name in before | after if before.get(name) != after.get(name) and name.endswith(".parquet")}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    write_prices(tmp_path / "prices")
    write_news(tmp_path / "news")
    return tmp_path


CONFIGS: dict[str, dict[str, Any]] = {
    "as they are": {},
    "no duplicates merged": {"news": {"duplicate_sessions": 0}},
    "duplicates over sixty sessions": {"news": {"duplicate_sessions": 60}},
    "usable on the date": {"news": {"date_only": "same_session"}},
    "a symbol called otherwise": {"news": {"symbols": {"Q": "UNKNOWN"}}},
    "three symbols": {"data": {"symbols": ("ACME", "BTC-USD", "Q"), "max_left_out": 0.9}},
    "calendars given": {
        "data": {"calendar": {"Q": "XNYS"}, "extra_sessions": {"XHKG": (date(2022, 2, 5),)}, "max_gap": 3}
    },
}
QUICK = "as they are", "duplicates over sixty sessions"
slow = pytest.mark.slow


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in QUICK else slow) for name in CONFIGS])
def test_tables_and_coverage_are_those_of_whole_tables(sources, name):
    config = config_of(sources, **CONFIGS[name])
    report, market = stream(config, sources), whole(config, sources)
    every = ["symbol", "available_at", "published_at", "headline", "source", "url", "body"]
    assert_frame_equal(table(sources, "prices"), market.prices)
    assert_frame_equal(table(sources, "news").sort(every), market.news.sort(every))
    assert {symbol: facts["num_articles"] for symbol, facts in report.symbols.items()} == {
        symbol: facts.num_articles for symbol, facts in market.report.symbols.items()
    }
    assert report.num_rejected == market.report.num_rejected
    folded = sum(counts["folded"] for counts in market.report.source["articles"].values())
    assert report.articles["folded"] == folded


def test_counts_are_exact_and_add_up(sources):
    report = stream(config_of(sources), sources)
    rows = articles()
    bad = {
        "soon": rows.filter(pl.col("Date") == "soon").height,
        "no date": rows["Date"].null_count(),
        "no word": rows.filter(pl.col("Article_title") == "...").height,
        "future": rows.filter(pl.col("Date").str.starts_with("2023-12")).height,
    }
    assert bad == {"soon": 3, "no date": 3, "no word": 3, "future": 3}
    told = report.articles
    assert (told["rows"], told["left_out"]) == (rows.height, 12)
    assert told["read"] == told["left_out"] + told["folded"] + told["kept"]
    prices = report.prices
    assert (prices["left_out"], prices["repeated"]) == (1, 1)
    assert prices["rows"] == prices["left_out"] + prices["repeated"] + prices["kept"]
    left_out = [pl.read_parquet(file) for file in (sources / "market").rglob("*.parquet") if "bucket" not in str(file)]
    rejected = [one for one in left_out if one.columns == list(REJECTED)]
    assert pl.concat(rejected).unique(["table", "symbol", "row", "record"]).height == 13


@pytest.mark.parametrize("steps", [pytest.param(n, marks=[] if n in (2, 5, 9) else slow) for n in range(1, 13)])
def test_run_killed_after_any_step_and_run_again_is_one_that_was_not_killed(sources, steps):
    config = config_of(sources)
    expected = stream(config, sources)
    before = content(sources / "market")
    done: list[str] = []

    def killed(step: str) -> None:
        done.append(step)
        if len(done) == steps:
            raise KilledError

    with pytest.raises(KilledError):
        stream_market(config, sources / "again", NOW, killed)
    if steps > 3:
        with pytest.raises(DataError, match="cut short"):
            _ = MarketStore(sources / "again").manifest
    assert stream_market(config, sources / "again", NOW, lambda _: None) == expected
    assert changed(before, content(sources / "again")) == set()


@pytest.mark.parametrize("writes", [pytest.param(1, marks=slow), 4, pytest.param(9, marks=slow)])
def test_bucket_that_was_half_written_is_made_anew(sources, writes, monkeypatch):
    config = config_of(sources)
    write_news(sources / "news", articles(num=500, seed=5))
    stream(config, sources)
    original, left = partitions.atomic_write, [writes]

    def fails(path: Path) -> Any:
        left[0] -= 1
        if not left[0]:
            raise KilledError
        return original(path)

    with monkeypatch.context() as patch:
        patch.setattr(partitions, "atomic_write", fails)
        write_news(sources / "news")
        with pytest.raises(KilledError):
            stream(config, sources)
    write_news(sources / "news", articles(num=500, seed=5))  # as before the kill
    stream(config, sources)
    expected = whole(config, sources)
    assert table(sources, "news").height == expected.news.height
    assert set(table(sources, "news")["headline"]) == set(expected.news["headline"])


def test_pieces_are_dropped_unit_by_unit(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "UNIT_ROWS", 3_000)
    alive: weakref.WeakSet[Piece] = weakref.WeakSet()
    most = [0]

    def read(skip_rows: int) -> Iterator[Piece]:
        for number in range(skip_rows // 1000, 100):
            rows = pl.DataFrame({"value": [number] * 1000, "part": ["007-2020"] * 1000})
            piece = _Watched(1000, rows, pl.DataFrame(schema=REJECTED))
            alive.add(piece)
            most[0] = max(most[0], len(alive))
            yield piece

    made = list(stage(tmp_path, Source("a", "1", "x"), [], read, dict))
    assert sum(unit.kept for unit in made) == 100_000
    assert most[0] <= 5  # three of a unit, the one that is read, the one before


class _Watched(Piece):
    __hash__ = object.__hash__
    __eq__ = object.__eq__


def test_large_file_is_several_units_and_goes_on_amid(sources, monkeypatch):
    monkeypatch.setattr(units, "UNIT_ROWS", 100)
    monkeypatch.setattr("flag_kedro.data.files.tables.PIECE_ROWS", 50)
    config = config_of(sources)
    steps: list[str] = []

    def killed(step: str) -> None:
        steps.append(step)
        if step.startswith("news") and "part 2" in step:
            raise KilledError

    with pytest.raises(KilledError):
        stream_market(config, sources / "market", NOW, killed)
    assert [unit.rows for unit in committed(sources / "market" / "units" / "news")] == [100, 76]
    steps.clear()
    stream(config, sources)
    assert table(sources, "news").height == whole(config, sources).news.height
    assert [unit.rows for unit in committed(sources / "market" / "units" / "news")] == [100, 76] * 4


def test_new_day_writes_the_last_year_alone_and_reads_old_files_no_more(tmp_path):
    day = date(2023, 1, 12)
    write_prices(tmp_path / "prices", last=day)
    write_news(tmp_path / "news")
    config = config_of(tmp_path, files={"duplicates": "first"})
    stream(config, tmp_path)
    before = content(tmp_path / "market")
    write_prices(tmp_path / "all")
    parts = [pl.read_parquet(file).filter(pl.col("session") > day) for file in sorted((tmp_path / "all").iterdir())]
    pl.concat(parts).write_parquet(tmp_path / "prices" / "zz_day.parquet")
    articles(30, seed=9, first=date(2023, 1, 13), days=1).filter(
        pl.col("Date").str.starts_with("2023-01-1"), pl.col("Stock_symbol") == "ACME"
    ).write_parquet(tmp_path / "news" / "zz_day.parquet")
    steps: list[str] = []
    stream_market(config, tmp_path / "market", NOW, steps.append)
    assert [step.partition(" rows of ")[2] for step in steps[:2]] == ["zz_day.parquet, part 1"] * 2
    written = {name for name in changed(before, content(tmp_path / "market")) if not name.startswith("units")}
    assert {name.partition("/")[0] for name in written} == {"prices", "news"}
    assert {Path(name).stem for name in written} == {"2023"}
    assert_frame_equal(table(tmp_path, "prices"), whole(config, tmp_path).prices)
    assert table(tmp_path, "news").height == whole(config, tmp_path).news.height


def with_a_day_more(folder: Path, high: float) -> None:
    """Prices of one session behind those that are there, ACME's with a high of so many times its close."""
    write_prices(folder / "all")
    every = pl.concat(pl.read_parquet(file) for file in sorted((folder / "all").iterdir()))
    day = every.filter(pl.col("session") == date(2023, 1, 13))
    factor = pl.when(pl.col("symbol") == "ACME").then(high).otherwise(1.01)
    day.with_columns(high=pl.col("close") * factor).write_parquet(folder / "prices" / "zz_day.parquet")


def clean_prices(folder: Path) -> None:
    """Those of `write_prices` up to 2023-01-12, without the broken row and the repeated one."""
    for file in write_prices(folder, last=date(2023, 1, 12)).iterdir():
        table = pl.read_parquet(file).unique(maintain_order=True)
        table.with_columns(high=pl.col("close") * 1.01).write_parquet(file)


def test_new_sessions_are_held_against_the_last_two_years_alone(sources, monkeypatch):
    clean_prices(sources / "prices")
    config = config_of(sources)
    stream(config, sources)
    with_a_day_more(sources, high=1.01)
    monkeypatch.setattr(partitions, "_update_prices", None)
    report = stream(config, sources)
    expected = whole(config, sources)
    assert_frame_equal(table(sources, "prices"), expected.prices)
    assert {name: facts["last"] for name, facts in report.symbols.items()} == {
        name: facts.last for name, facts in expected.report.symbols.items()
    }


def test_new_session_that_breaks_a_rule_is_left_out_as_of_whole_tables(sources):
    clean_prices(sources / "prices")
    config = config_of(sources)
    stream(config, sources)
    with_a_day_more(sources, high=0.9)
    report, expected = stream(config, sources), whole(config, sources)
    assert report.num_rejected == expected.report.num_rejected
    assert report.num_rejected["high is below open or close"] == 1
    assert_frame_equal(table(sources, "prices"), expected.prices)


def test_late_article_of_an_old_year_is_merged_as_if_it_had_always_been_there(sources):
    config = config_of(sources)
    stream(config, sources)
    late = articles()[:1].with_columns(
        Date=pl.lit("2021-12-19 15:00:00 UTC"),
        Article_title=pl.lit("A story that returns daily"),
        Stock_symbol=pl.lit("BRK-B"),
    )
    late.write_parquet(sources / "news" / "late.parquet")
    stream(config, sources)
    every = ["symbol", "available_at", "published_at", "headline", "url"]
    assert_frame_equal(table(sources, "news").sort(every), whole(config, sources).news.sort(every))


@slow
def test_file_that_changed_or_went_is_read_again_or_forgotten(sources):
    config = config_of(sources)
    stream(config, sources)
    articles(50, seed=3).write_parquet(sources / "news" / "news_1.parquet")
    (sources / "news" / "news_2.parquet").unlink()
    stream(config, sources)
    assert table(sources, "news").height == whole(config, sources).news.height


def test_article_of_the_future_is_let_in_once_it_is_past(sources):
    config = config_of(sources)
    assert stream(config, sources).num_rejected["published_at lies in the future"] == 3
    later = NOW + timedelta(days=365)
    report = stream(config, sources, later)
    assert "published_at lies in the future" not in report.num_rejected
    assert table(sources, "news").height == whole(config, sources, later).news.height


def test_symbol_that_joins_reads_the_files_again_that_name_it(sources):
    parted = articles().with_row_index().with_columns(part=pl.col("index") * 4 // articles().height)
    named = pl.col("Stock_symbol").str.contains("UNKNOWN")
    for (number,), rows in parted.filter(~named | (pl.col("part") == 2)).partition_by("part", as_dict=True).items():
        rows.drop("part", "index").write_parquet(sources / "news" / f"news_{number}.parquet")
    config = config_of(sources)
    stream(config, sources)
    other = pl.read_parquet(sources / "prices" / "prices_4.parquet").filter(pl.col("symbol") == "Q")
    other.with_columns(symbol=pl.lit("UNKNOWN")).write_parquet(sources / "prices" / "prices_9.parquet")
    steps: list[str] = []
    stream_market(config, sources / "market", NOW, steps.append)
    read = [step.partition(" rows of ")[2].partition(",")[0] for step in steps if step.startswith(KINDS)]
    assert read == ["prices_9.parquet", "news_2.parquet"]
    news = MarketStore(sources / "market").scan("news", [*SYMBOLS, "UNKNOWN"]).collect()
    assert news.height == whole(config, sources).news.height
    (sources / "prices" / "prices_9.parquet").unlink()
    stream(config, sources)
    assert table(sources, "news").height == whole(config, sources).news.height


def test_source_without_a_needed_column_is_refused_by_name(sources):
    articles().drop("Article_title").write_parquet(sources / "news" / "news_9.parquet")
    with pytest.raises(DataError, match=r"news_9\.parquet has no column headline"):
        stream(config_of(sources), sources)


def test_bad_rows_are_refused_without_quarantine_and_nothing_passes_for_whole(sources):
    with pytest.raises(DataError, match=r"news_0\.parquet row"):
        stream(config_of(sources, data={"quarantine": False}, news={}), sources)
    with pytest.raises(DataError, match="cut short"):
        _ = MarketStore(sources / "market").manifest


def test_quarantine_of_most_articles_is_refused(sources):
    bad = articles().with_columns(Article_title=pl.lit("..."))
    write_news(sources / "news", bad)
    with pytest.raises(DataError, match=r"data\.quarantine would leave out"):
        stream(config_of(sources), sources)


def test_only_tables_of_prices_are_streamed():
    with pytest.raises(ParameterError, match=r"data\.source is simulated"):
        StreamConfig(DataConfig(), NewsConfig(), FilesConfig())


def test_other_code_makes_the_store_anew(sources, monkeypatch):
    config = config_of(sources)
    stream(config, sources)
    monkeypatch.setattr(ingest, "code_hash", lambda: "other")
    steps: list[str] = []
    stream_market(config, sources / "market", NOW, steps.append)
    assert sum(step.startswith(KINDS) for step in steps) == 7


@slow
def test_local_dataset_of_hugging_face_is_streamed_and_goes_on(sources, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setattr(units, "UNIT_ROWS", 200)
    monkeypatch.setattr("flag_kedro.data.files.huggingface.BATCH_ROWS", 100)
    config = config_of(sources, news={"source": "huggingface"})

    def killed(step: str) -> None:
        if step.startswith("news"):
            raise KilledError

    with pytest.raises(KilledError):
        stream_market(config, sources / "market", NOW, killed)
    report = stream(config, sources)
    assert report.articles["rows"] == articles().height
    assert table(sources, "news").height == whole(config_of(sources), sources).news.height
    assert (sources / "market" / MANIFEST).is_file()
