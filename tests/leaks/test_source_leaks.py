"""The full audit catches each leak planted in ingest, fitting, training and selection, and passes without one."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from source_leaks import LEAKS, Leak

from flag_kedro.data.calendar import exchange_sessions
from flag_kedro.data.config import DataConfig, NewsConfig, WindowsConfig
from flag_kedro.data.market import MarketConfig
from flag_kedro.data.simulated import SimulatedConfig, simulate_market
from flag_kedro.env.config import EnvConfig
from flag_kedro.experiments.full_audit import FullAudit, Job, audit_from_source
from flag_kedro.features.config import FeaturesConfig
from flag_kedro.policy.config import PolicyConfig
from flag_kedro.ppo.config import PPOConfig
from flag_kedro.ppo.runtime import RuntimeConfig

WINDOWS = WindowsConfig(
    train=(date(2023, 4, 3), date(2023, 5, 19)),
    validation=(date(2023, 5, 22), date(2023, 6, 30)),
    test=(date(2023, 7, 3), date(2023, 9, 29)),
)
SIMULATED = SimulatedConfig(market="easy", first_session=date(2023, 4, 3), last_session=date(2023, 9, 29), signal=0.0)
NOW = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A market without signal; a universe in which BRIX is delisted; each story comes again two days later."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "universe.csv").write_text("symbol,first,last,delisted\nALDR,,,\nBRIX,,,2023-09-29\nCORV,,,\n")
    news = simulate_market(("ALDR", "BRIX", "CORV"), SIMULATED, 0).news.select("symbol", "published_at", "headline")
    numbered = news.with_columns(pl.format("{} (no. {})", "headline", pl.int_range(pl.len())))
    again = numbered.with_columns(pl.col("published_at").dt.offset_by("2d"))
    pl.concat([numbered, again]).write_csv(folder / "news.csv", datetime_format="%Y-%m-%d %H:%M:%S")
    data = DataConfig(universe=str(folder / "universe.csv"), windows=WINDOWS)
    articles = NewsConfig(source="files", path=str(folder / "news.csv"), timezone="UTC")
    ppo = PPOConfig(total_timesteps=960, num_steps=16)
    job = Job(
        MarketConfig(data, articles, SIMULATED), folder, FeaturesConfig(), EnvConfig(), PolicyConfig(), ppo,
        RuntimeConfig(), seed=0,
    )  # fmt: skip
    return job.shortened(960)


def audited(job: Job) -> FullAudit:
    return audit_from_source(job, 2, NOW)


@pytest.mark.slow
def test_job_without_a_leak_passes(job: Job) -> None:
    found = audited(job)
    assert found.passed, found
    assert [check.compared["fitted"] for check in found.checks] == [5, 5]
    assert all(count > 0 for check in found.checks for count in check.compared.values())


@pytest.mark.slow
@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.name)
def test_leak_is_caught(leak: Leak, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    leak.plant(monkeypatch)
    found = audited(job)
    assert not found.passed
    kinds = {difference.what for check in found.checks for difference in check.differences}
    assert leak.caught_as in kinds, kinds


@pytest.fixture
def mixed(tmp_path: Path) -> Job:
    """A stock, a coin that trades every day, and a stock that lists in the test window; own files, no validation."""
    rng, days = np.random.default_rng(0), [date(2023, 1, 2) + timedelta(days=k) for k in range(360)]
    sessions = exchange_sessions("XNYS", days[0], days[-1])["session"].to_list()
    traded = {"BTC": days, "OLD": sessions, "NEW": [day for day in sessions if day >= date(2023, 8, 21)]}
    for symbol, dates in traded.items():
        closes = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, len(dates))))
        table = pl.DataFrame({"symbol": symbol, "session": dates, "close": closes, "adj_close": closes})
        table.write_csv(tmp_path / f"{symbol}.csv")
    (tmp_path / "universe.csv").write_text("symbol,first,last,delisted\nBTC,,,\nOLD,,,\nNEW,2023-08-21,,\n")
    windows = WindowsConfig(train=(date(2023, 3, 29), date(2023, 7, 31)), test=(date(2023, 8, 1), date(2023, 9, 27)))
    data = DataConfig(
        source="files", path=f"{tmp_path}/???.csv", windows=windows, universe=str(tmp_path / "universe.csv"),
        calendar={"BTC": "24/7", "OLD": "XNYS", "NEW": "XNYS"},
    )  # fmt: skip
    market = MarketConfig(data, NewsConfig(source="none"), SimulatedConfig())
    ppo = PPOConfig(total_timesteps=64, num_steps=16)
    return Job(
        market, tmp_path, FeaturesConfig(), EnvConfig(fill="next_close"), PolicyConfig(), ppo, RuntimeConfig(), seed=0
    )


@pytest.mark.slow
def test_audit_takes_several_calendars_late_listings_and_no_validation(mixed: Job) -> None:
    found = audit_from_source(mixed, 3, NOW)
    assert found.passed, found
    assert found.facts["symbols"] == ["BTC", "NEW", "OLD"]
    assert len(found.checks) == 3
