"""Tiny windows to replay: every price written out, sessions on consecutive days."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta

import polars as pl
import pytest

from flag_kedro.env.config import EnvConfig, Fill, Positions
from flag_kedro.env.window import TradingWindow, cut_window

FIRST = date(2024, 1, 1)
ALWAYS = (date(2000, 1, 1), date(2099, 1, 1))


@pytest.fixture(scope="session")
def cut_prices() -> Callable[..., TradingWindow]:
    """A window of symbols given as `NAME=(opens, closes)`, each with a length of its own."""

    def states(opens: Sequence[float], closes: Sequence[float]) -> pl.DataFrame:
        days = [FIRST + timedelta(days=t) for t in range(len(closes))]
        decided = [datetime.combine(day, time(21), UTC) for day in days]
        return pl.DataFrame(
            {
                "session": days,
                "decided_at": decided,
                "known_at": decided,
                "market_text": [f"market {t}" for t in range(len(closes))],
                "news_text": ["none"] * len(closes),
                "open_price": pl.Series(list(opens), dtype=pl.Float64),
                "mark_price": pl.Series(list(closes), dtype=pl.Float64),
                "volume": pl.Series([None] * len(closes), dtype=pl.Float64),
            }
        )

    def cut(
        fill: Fill, positions: Positions = "long_flat", **symbols: tuple[Sequence[float], Sequence[float]]
    ) -> TradingWindow:
        tables = {name: states(*prices) for name, prices in symbols.items()}
        return cut_window(tables, ALWAYS, fill, positions=positions)

    return cut


@pytest.fixture
def config() -> EnvConfig:
    """A cost of a quarter of each trade, so that hand-worked numbers stay short."""
    return EnvConfig(cost_bps=2_000.0, slippage_bps=500.0, initial_cash=1_000.0)
