"""Sources and parameters that change between runs: the store is that of a run that never knew others."""

from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flag_kedro.data.market import MarketConfig, load_market
from flag_kedro.data.simulated import SimulatedConfig
from flag_kedro.data.streamed.ingest import CODE, PACKAGE, StreamConfig, stream_market
from flag_kedro.data.streamed.store import Kind, MarketStore
from flag_kedro.errors import DataError
from streamed_market import NOW, SYMBOLS, articles, config_of, write_prices

EVERY = ["symbol", "available_at", "published_at", "headline", "source", "url", "body"]


def stream(config: StreamConfig, folder: Path, now: datetime = NOW) -> pl.DataFrame:
    """Articles after a run."""
    stream_market(config, folder / "market", now, lambda _: None)
    return table(folder, "news").sort(EVERY)


def table(folder: Path, kind: Kind) -> pl.DataFrame:
    return MarketStore(folder / "market").scan(kind, SYMBOLS).collect()


def whole(config: StreamConfig, folder: Path, now: datetime = NOW) -> pl.DataFrame:
    market = load_market(MarketConfig(config.data, config.news, SimulatedConfig(), config.files), folder, now)
    return market.news.sort(EVERY)


def tell(folder: Path, name: str, times: list[str], headline: str = "Acme opens a plant") -> None:
    """A file of articles about ACME that tell one story."""
    folder.mkdir(exist_ok=True)
    one = articles(1)[:1].with_columns(Stock_symbol=pl.lit("ACME"), Article_title=pl.lit(headline))
    pl.concat(one.with_columns(Date=pl.lit(time)) for time in times).write_parquet(folder / name)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    write_prices(tmp_path / "prices")
    return tmp_path


def test_article_is_told_again_once_the_file_of_the_year_before_that_told_it_is_gone(sources):
    tell(sources / "news", "a.parquet", ["2021-12-30 15:00:00 UTC"])
    tell(sources / "news", "b.parquet", ["2022-01-03 15:00:00 UTC"])
    config = config_of(sources)
    assert stream(config, sources).height == 1
    (sources / "news" / "a.parquet").unlink()
    assert_frame_equal(stream(config, sources), whole(config, sources))
    assert table(sources, "news")["available_at"].dt.year().to_list() == [2022]


def test_late_article_reaches_over_a_year_that_it_does_not_change(sources):
    tell(sources / "news", "a.parquet", ["2022-06-01 15:00:00 UTC"], "Something else happened")
    tell(sources / "news", "b.parquet", ["2021-12-01 15:00:00 UTC"], "Another thing happened")
    tell(sources / "news", "c.parquet", ["2023-01-05 15:00:00 UTC"])
    config = config_of(sources, news={"duplicate_sessions": 300})
    stream(config, sources)
    tell(sources / "news", "d.parquet", ["2021-12-30 15:00:00 UTC"])
    assert_frame_equal(stream(config, sources), whole(config, sources))


def test_new_session_beside_a_symbol_that_ended_years_ago_and_has_a_calendar_of_its_own(sources, monkeypatch):
    for module in ("store", "partitions", "ingest"):
        monkeypatch.setattr(f"flag_kedro.data.streamed.{module}.bucket_of", lambda _: 0)
    for file in write_prices(sources / "prices").iterdir():
        prices = pl.read_parquet(file).unique(maintain_order=True).with_columns(high=pl.col("close") * 1.01)
        ended = (pl.col("symbol") == "0700.HK") & (pl.col("session") > date(2021, 11, 1))
        prices.filter(~ended, pl.col("session") < date(2023, 1, 13)).write_parquet(file)
    given = {"calendar": {"0700.HK": "XHKG"}, "extra_sessions": {"XHKG": (date(2022, 2, 5),)}}
    tell(sources / "news", "a.parquet", ["2022-06-01 15:00:00 UTC"])
    config = config_of(sources, data=given)
    stream(config, sources)
    write_prices(sources / "all")
    every = pl.concat(pl.read_parquet(file) for file in sorted((sources / "all").iterdir()))
    every.filter(pl.col("session") == date(2023, 1, 13), pl.col("symbol") == "ACME").write_parquet(
        sources / "prices" / "zz_day.parquet"
    )
    stream(config, sources)
    assert table(sources, "prices")["session"].max() == date(2023, 1, 13)


def test_quarantine_of_most_prices_of_a_symbol_that_cannot_be_read_is_refused(sources):
    path = sources / "prices" / "prices_4.parquet"
    prices = pl.read_parquet(path)
    unreadable = (pl.col("symbol") == "Q") & (pl.col("session") < date(2023, 1, 1))
    prices.with_columns(
        close=pl.when(unreadable).then(pl.lit("?")).otherwise(pl.col("close").cast(pl.String))
    ).write_parquet(path)
    tell(sources / "news", "a.parquet", ["2022-06-01 15:00:00 UTC"])
    config = config_of(sources)
    for read in (whole, stream):
        with pytest.raises(DataError, match=r"would leave out \d+ of \d+ prices of Q"):
            read(config, sources)


@pytest.mark.parametrize("name", ["rules.py", "validation.py", "market.py", "schema.py", "files/prices.py"])
def test_code_that_decides_over_rows_is_hashed(name):
    assert any(PACKAGE / name in PACKAGE.glob(pattern) for pattern in CODE)
