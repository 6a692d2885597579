"""Tiny markets: every price written out, sessions on consecutive days."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta

import polars as pl
import pytest

from flag_kedro.env.config import EnvConfig, Fill
from flag_kedro.env.window import TradingWindow, cut_window

FIRST = date(2024, 1, 1)
ALWAYS = (date(2000, 1, 1), date(2099, 1, 1))


@pytest.fixture(scope="session")
def make_states() -> Callable[..., pl.DataFrame]:
    """Market states of one symbol with the given closes and opens, decided at 21:00."""

    def make(closes: Sequence[float], opens: Sequence[float | None] | None = None) -> pl.DataFrame:
        days = [FIRST + timedelta(days=t) for t in range(len(closes))]
        decided = [datetime.combine(day, time(21), UTC) for day in days]
        return pl.DataFrame(
            {
                "session": days,
                "decided_at": decided,
                "known_at": decided,
                "market_text": [f"market {t}" for t in range(len(closes))],
                "news_text": ["none" if t % 2 else f"- news {t}" for t in range(len(closes))],
                "open_price": pl.Series(list(closes) if opens is None else list(opens), dtype=pl.Float64),
                "mark_price": pl.Series(list(closes), dtype=pl.Float64),
                "volume": pl.Series([None] * len(closes), dtype=pl.Float64),
            }
        )

    return make


@pytest.fixture(scope="session")
def make_window(make_states: Callable[..., pl.DataFrame]) -> Callable[..., TradingWindow]:
    """A window of symbols given as `NAME=closes` or `NAME=(opens, closes)`, each with a length of its own."""

    def make(fill: Fill, **symbols: Sequence[float] | tuple[Sequence[float], Sequence[float]]) -> TradingWindow:
        states = {
            name: make_states(given[1], given[0]) if isinstance(given, tuple) else make_states(given)
            for name, given in symbols.items()
        }
        return cut_window(states, ALWAYS, fill)

    return make


@pytest.fixture(scope="session")
def make_config() -> Callable[..., EnvConfig]:
    """Parameters with a cost of a quarter of each trade, so that hand-worked numbers stay short."""

    def make(**fields: object) -> EnvConfig:
        return EnvConfig(**({"cost_bps": 2_000.0, "slippage_bps": 500.0, "initial_cash": 1_000.0} | fields))

    return make
