"""Noise, regimes and prices of the simulated market.

Shape legend: T = sessions, warm-up included.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flag_kedro.data.schema import PRICES
from flag_kedro.data.simulated.config import MarketRule
from flag_kedro.data.streams import stream

Floats = NDArray[np.float64]
GARCH_ALPHA, GARCH_BETA = 0.08, 0.90
OVERNIGHT_VARIANCE = 0.2
COMMON_VARIANCE = 0.3
CALM_NOISE, STRESSED_NOISE = 0.85, 1.25
YEAR_SESSIONS = 252


@dataclass(frozen=True)
class Climate:
    """What all symbols share, session by session."""

    names: list[str | None]
    """calm or stressed; None in a market without regimes, [T]."""
    drift: Floats
    """Expected log return of the session, [T]."""
    noise: Floats
    """What multiplies the noise, [T]."""
    factor: Floats
    """The common part of the noise, of variance 1, [T]."""


def garch_noise(rng: np.random.Generator, num_sessions: int) -> Floats:
    """GARCH(1, 1) noise of mean 0 and unconditional variance 1, [num_sessions] (Bollerslev 1986)."""
    shocks = rng.standard_normal(num_sessions)
    noise = np.empty(num_sessions)
    variance = 1.0
    for t in range(num_sessions):
        noise[t] = np.sqrt(variance) * shocks[t]
        variance = (1 - GARCH_ALPHA - GARCH_BETA) + GARCH_ALPHA * noise[t] ** 2 + GARCH_BETA * variance
    return noise


def garch_variance(noise: Floats) -> Floats:
    """Variance that `garch_noise` has in each next session, by the noise up to this one, [T]."""
    variances, variance = np.empty(len(noise)), 1.0
    for t, value in enumerate(noise.tolist()):
        variance = (1 - GARCH_ALPHA - GARCH_BETA) + GARCH_ALPHA * value**2 + GARCH_BETA * variance
        variances[t] = variance
    return variances


def draw_climate(rule: MarketRule, num_sessions: int, seed: int) -> Climate:
    """Draw the regimes and the common factor; the first regime is either with the same chance."""
    factor = garch_noise(stream(seed, "factor"), num_sessions)
    if rule.regime_sessions == 0:
        level = np.full(num_sessions, rule.drift / YEAR_SESSIONS)
        return Climate([None] * num_sessions, level, np.ones(num_sessions), factor)
    stressed = _draw_stressed(rule.regime_sessions, num_sessions, stream(seed, "regimes"))
    drift = (rule.drift + np.where(stressed, -1.0, 1.0) * rule.regime_drift) / YEAR_SESSIONS
    names: list[str | None] = ["stressed" if each else "calm" for each in stressed]
    return Climate(names, drift, np.where(stressed, STRESSED_NOISE, CALM_NOISE), factor)


def _draw_stressed(mean_sessions: int, num_sessions: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Alternating stretches of two thirds to four thirds of the mean length, [T]."""
    stressed = np.zeros(num_sessions, dtype=bool)
    state, start = rng.random() < 0.5, 0
    while start < num_sessions:
        end = start + int(rng.integers(max(1, 2 * mean_sessions // 3), 4 * mean_sessions // 3 + 1))
        stressed[start:end] = state
        state, start = not state, end
    return stressed


def draw_prices(
    symbol: str,
    sessions: pl.DataFrame,
    climate: Climate,
    planted: Mapping[str, Floats],
    idiosyncratic: Floats,
    noise: float,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """Prices of a symbol in the columns of `schema.PRICES`.

    Args:
        symbol: its name.
        sessions: `session` and `closes_at`, [T].
        climate: what it shares with the others.
        planted: `effect`, the planted part of its open-to-close log returns, and `volatility`, what multiplies its
            noise besides the climate, [T] each.
        idiosyncratic: its own part of the noise between open and close, of variance 1, [T].
        noise: standard deviation of a session's log return.
        rng: of all else.
    """
    num, multiplier = sessions.height, climate.noise * planted["volatility"]
    intraday = np.sqrt(COMMON_VARIANCE) * climate.factor + np.sqrt(1 - COMMON_VARIANCE) * idiosyncratic
    open_to_close = planted["effect"] + climate.drift + noise * np.sqrt(1 - OVERNIGHT_VARIANCE) * intraday * multiplier
    overnight = noise * np.sqrt(OVERNIGHT_VARIANCE) * rng.standard_normal(num) * multiplier
    log_close = np.log(100.0) + np.cumsum(overnight + open_to_close)
    log_open = log_close - open_to_close
    wick = noise / 2 * multiplier
    high = np.maximum(log_open, log_close) + wick * np.abs(rng.standard_normal(num))
    low = np.minimum(log_open, log_close) - wick * np.abs(rng.standard_normal(num))
    surprise = np.abs(open_to_close) / noise
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
