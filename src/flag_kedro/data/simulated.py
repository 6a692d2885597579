"""A market whose headlines move prices by a known rule, so that learning can be proven.

The rule: a good or bad headline adds plus or minus `signal` to the open-to-close
log returns of the `horizon` sessions after the first session whose decision may use it. Nothing else in
the market can be predicted: volatility clusters (GARCH) and symbols share a common factor, but the sign
of the noise is random.
"""

from dataclasses import dataclass as plain_dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from flag_kedro.data.calendar import exchange_sessions
from flag_kedro.data.headlines import COMPANIES, write_headline
from flag_kedro.data.schema import NEWS, PRICES
from flag_kedro.data.streams import stream
from flag_kedro.errors import ParameterError

CALENDAR = "XNYS"
NUM_DEFAULT_SYMBOLS = 6
WARM_UP_SESSIONS = 59
"""Sessions simulated before `first_session`, so that it is the first with all indicators."""
GARCH_ALPHA, GARCH_BETA = 0.08, 0.90
OVERNIGHT_VARIANCE = 0.2
AFTER_CLOSE = 0.5
"""Share of headlines that come after the close."""
COMMON_VARIANCE = 0.3


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SimulatedConfig:
    """The simulated market. Returns are logarithmic."""

    first_session: date = date(2019, 1, 2)
    """First day of the span that windows divide; prices begin 59 sessions earlier, for the indicators."""
    last_session: date = date(2023, 12, 29)
    """Last day of the span; at least three years give windows worth learning on."""
    drift: float = Field(0.0, ge=-1.0, le=1.0)
    """Expected log return of a year without any headline."""
    noise: float = Field(0.012, gt=0.0, le=0.2)
    """Standard deviation of a session's log return without headlines."""
    share: float = Field(0.5, ge=0.0, le=1.0)
    """Share of (symbol, session) pairs with a good or bad headline."""
    signal: float = Field(0.006, ge=0.0, le=0.1)
    """Log return that such a headline adds to (or takes from) each session it moves; 0 is the no-signal twin."""
    horizon: int = Field(3, ge=1, le=20)
    """Sessions that a headline moves."""

    def __post_init__(self) -> None:
        if self.first_session >= self.last_session:
            raise ValueError(
                f"simulated.first_session ({self.first_session}) must lie before "
                f"simulated.last_session ({self.last_session})"
            )


@plain_dataclass(frozen=True)
class SimulatedMarket:
    """Prices and news, and the effects that the simulation planted."""

    prices: pl.DataFrame
    """Columns of `schema.PRICES`."""
    news: pl.DataFrame
    """Columns of `schema.NEWS`."""
    truth: pl.DataFrame
    """`symbol`, `session`, `effect`: the planted part of the session's open-to-close log return. `next_effect`,
    `second_effect`: what headlines knowable at the session's close plant in the next session, and in the one after. For
    tests and oracles; never shown to a policy. `usable`: good less bad headlines that no decision before the session's
    could know; `before_close`: whether one of them came on the day itself."""


def garch_noise(rng: np.random.Generator, num_sessions: int) -> NDArray[np.float64]:
    """GARCH(1, 1) noise of mean 0 and unconditional variance 1, [num_sessions] (Bollerslev 1986)."""
    shocks = rng.standard_normal(num_sessions)
    noise = np.empty(num_sessions)
    variance = 1.0
    for t in range(num_sessions):
        noise[t] = np.sqrt(variance) * shocks[t]
        variance = (1 - GARCH_ALPHA - GARCH_BETA) + GARCH_ALPHA * noise[t] ** 2 + GARCH_BETA * variance
    return noise


def simulate_market(symbols: tuple[str, ...] | None, config: SimulatedConfig, seed: int) -> SimulatedMarket:
    """Draw a market; the same arguments give the same bits, and a symbol does not depend on the others.

    Args:
        symbols: those of `headlines.COMPANIES`; None for the first six.
        config: parameters `simulated.*`.
        seed: of every draw.

    Raises:
        ParameterError: for a symbol the simulation does not know.
        DataError: when the exchange's calendar does not reach over the simulated span.
    """
    symbols = symbols or tuple(COMPANIES)[:NUM_DEFAULT_SYMBOLS]
    unknown = [symbol for symbol in symbols if symbol not in COMPANIES]
    if unknown:
        raise ParameterError(
            f"data.symbols: no data for {' '.join(unknown)}; the simulated market has {' '.join(COMPANIES)}"
        )
    sessions = exchange_sessions(CALENDAR, config.first_session - timedelta(days=120), config.last_session)
    sessions = sessions.slice(int((sessions["session"] < config.first_session).sum()) - WARM_UP_SESSIONS)
    factor = garch_noise(stream(seed, "factor"), sessions.height)
    parts = [_simulate_symbol(symbol, sessions, factor, config, seed) for symbol in symbols]
    prices, news, truth = (pl.concat(tables) for tables in zip(*parts, strict=True))
    return SimulatedMarket(prices=prices, news=news, truth=truth)


def _simulate_symbol(
    symbol: str, sessions: pl.DataFrame, factor: NDArray[np.float64], config: SimulatedConfig, seed: int
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    news, effects = _write_news(symbol, sessions, config, stream(seed, symbol, "news"))
    prices = _draw_prices(symbol, sessions, factor, effects["effect"], config, stream(seed, symbol, "prices"))
    planted = [pl.Series(name, effect) for name, effect in effects.items()]
    return prices, news, sessions.select(pl.lit(symbol).alias("symbol"), "session", *planted)


def _write_news(
    symbol: str, sessions: pl.DataFrame, config: SimulatedConfig, rng: np.random.Generator
) -> tuple[pl.DataFrame, dict[str, NDArray[Any]]]:
    """Articles of every session, and their effects as `SimulatedMarket.truth` has them."""
    effects = {name: np.zeros(sessions.height) for name in ("effect", "next_effect", "second_effect")}
    usable, before_close = np.zeros(sessions.height, dtype=np.int64), np.zeros(sessions.height, dtype=bool)
    articles: list[tuple[object, str]] = []
    for day, (opens_at, closes_at) in enumerate(sessions.select("opens_at", "closes_at").iter_rows()):
        kinds = ["neutral"] * int(rng.integers(1, 4))
        moves = rng.random() < config.share
        sign = 1 if rng.random() < 0.5 else -1
        if moves:
            kinds.insert(int(rng.integers(len(kinds) + 1)), "good" if sign > 0 else "bad")
        for kind in kinds:
            after_close = rng.random() < AFTER_CLOSE
            minutes = int(rng.integers(1, 180))
            published = closes_at + timedelta(minutes=minutes) if after_close else opens_at + timedelta(minutes=minutes)
            articles.append((published, write_headline(kind, symbol, rng)))
            if kind != "neutral":
                first = day + int(after_close) + 1
                usable[first - 1 : first] += sign
                before_close[day] = not after_close
                end = first + config.horizon
                effects["effect"][first:end] += sign * config.signal
                effects["next_effect"][first - 1 : end - 1] += sign * config.signal
                effects["second_effect"][first - 1 : end - 2] += sign * config.signal
    news = pl.DataFrame(
        {
            "symbol": symbol,
            "published_at": [published for published, _ in articles],
            "available_at": [published for published, _ in articles],
            "headline": [headline for _, headline in articles],
            "body": None,
            "source": "simulated",
            "url": None,
        },
        schema=NEWS,
    )
    return news, {**effects, "usable": usable, "before_close": before_close}


def _draw_prices(
    symbol: str,
    sessions: pl.DataFrame,
    factor: NDArray[np.float64],
    effect: NDArray[np.float64],
    config: SimulatedConfig,
    rng: np.random.Generator,
) -> pl.DataFrame:
    num = sessions.height
    idiosyncratic = garch_noise(rng, num)
    intraday = np.sqrt(COMMON_VARIANCE) * factor + np.sqrt(1 - COMMON_VARIANCE) * idiosyncratic
    open_to_close = effect + config.drift / 252 + config.noise * np.sqrt(1 - OVERNIGHT_VARIANCE) * intraday
    overnight = config.noise * np.sqrt(OVERNIGHT_VARIANCE) * rng.standard_normal(num)
    log_close = np.log(100.0) + np.cumsum(overnight + open_to_close)
    log_open = log_close - open_to_close
    wick = config.noise / 2
    high = np.maximum(log_open, log_close) + wick * np.abs(rng.standard_normal(num))
    low = np.minimum(log_open, log_close) - wick * np.abs(rng.standard_normal(num))
    surprise = np.abs(open_to_close) / config.noise
    volume = np.round(1e6 * np.exp(0.3 * rng.standard_normal(num) + 0.2 * surprise))
    return sessions.select(
        pl.lit(symbol).alias("symbol"),
        "session",
        pl.Series("open", np.exp(log_open)),
        pl.Series("high", np.exp(high)),
        pl.Series("low", np.exp(low)),
        pl.Series("close", np.exp(log_close)),
        pl.Series("volume", volume),
        pl.Series("adj_close", np.exp(log_close)),
        pl.col("closes_at").alias("available_at"),
    ).cast(PRICES)  # type: ignore[arg-type]
