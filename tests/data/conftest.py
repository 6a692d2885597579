"""Fixtures of the tests of data sources."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from flag_kedro.data.config import DataConfig, NewsConfig
from flag_kedro.data.source import Raw
from flag_kedro.data.yahoo import YahooConfig, download_market, read_yahoo
from yahoo_server import Company, YahooServer

if TYPE_CHECKING:
    from flag_kedro.data.yahoo.session import Patience


@dataclass
class FakeTime:
    """A clock that only waiting moves."""

    now: float = 0.0
    waits: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def patience(self) -> "Patience":
        from flag_kedro.data.yahoo.session import Patience

        return Patience(clock=lambda: self.now, sleep=self.sleep, rng=Random(1))


@dataclass
class Download:
    """Downloads from the server into `store`, on the evening of the server's day."""

    server: YahooServer
    store: Path
    symbols: tuple[str, ...]
    time: FakeTime = field(default_factory=FakeTime)
    news: NewsConfig = field(default_factory=lambda: NewsConfig(source="none"))
    data: dict[str, Any] = field(default_factory=dict)
    yahoo: dict[str, Any] = field(default_factory=dict)
    now: datetime | None = None

    def arguments(self) -> tuple[DataConfig, NewsConfig, YahooConfig, Path, datetime]:
        settings: dict[str, Any] = {"first": date(2024, 1, 2), "base_url": self.server.url, "timeout": 5.0}
        now = self.now or datetime.combine(self.server.today + timedelta(days=1), datetime.min.time(), UTC)
        data = DataConfig(source="yahoo", symbols=self.symbols, **self.data)
        return data, self.news, YahooConfig(**settings | self.yahoo), self.store, now

    def run(self) -> dict[str, Any]:
        return download_market(*self.arguments(), self.time.patience())

    def read(self) -> Raw:
        return read_yahoo(*self.arguments())

    def content(self) -> dict[str, bytes]:
        """Every file of the store."""
        files = [path for path in sorted(self.store.rglob("*")) if path.is_file() and path.name != ".lock"]
        return {str(path.relative_to(self.store)): path.read_bytes() for path in files}


@pytest.fixture
def download(tmp_path: Path) -> Iterator[Callable[..., Download]]:
    """Start a server with companies of these symbols and a download from it."""
    servers = []

    def start(*companies: Company | str, today: date = date(2024, 3, 28), **settings: Any) -> Download:
        listed_companies = [Company(company) if isinstance(company, str) else company for company in companies]
        server = YahooServer(*listed_companies, today=today)
        servers.append(server.__enter__())
        symbols = settings.pop("symbols", tuple(company.symbol for company in listed_companies))
        return Download(server, tmp_path / "store", symbols, **settings)

    yield start
    for server in servers:
        server.__exit__()
