"""`kedro run` with a Yahoo on this machine: what a user sees and what stays on disk."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from yahoo_server import Company, YahooServer, article


@pytest.mark.slow
def test_daily_run_downloads_then_fails_in_plain_words_and_leaves_earlier_outputs_untouched(kedro, tmp_path: Path):
    with YahooServer(Company("MSFT", end=date(2024, 6, 28)), today=date(2024, 6, 28)) as server:
        server.news["MSFT"] = [article(1, "2024-06-28T12:00:00Z")]
        asked = f"data.source=yahoo,yahoo.base_url={server.url},yahoo.first=2024-01-02,yahoo.requests_per_second=100"
        first = f"{asked},data.symbols=MSFT,yahoo.last=2024-06-28"
        done = kedro("run", "--pipelines=ingest,features", data_dir=tmp_path, params=first)
        assert "MSFT, 124 prices, 1 articles" in done.stdout
        outputs = {path: path.read_bytes() for path in (tmp_path / "02_intermediate").iterdir()}
        assert len(pl.read_parquet(tmp_path / "02_intermediate" / "prices.parquet")) == 124
        failed = kedro(
            "run", "--pipelines=ingest", data_dir=tmp_path, params=f"{asked},data.symbols=MSFT GONE", check=False
        )
        assert failed.returncode == 1
        assert "GONE: Yahoo has no prices: Not Found: No data found, symbol may be delisted" in failed.stderr
        assert "MSFT: Yahoo's answer was refused and nothing of it stored: stale" in failed.stderr
        assert "Traceback" not in failed.stdout + failed.stderr
        assert {path: path.read_bytes() for path in outputs} == outputs
    again = kedro("run", "--pipelines=ingest", data_dir=tmp_path, params=f"{first},yahoo.offline=true")
    assert "MSFT, 124 prices, 1 articles" in again.stdout
    assert pl.read_parquet(tmp_path / "02_intermediate" / "prices.parquet").height == 124
