"""The simulated market: prices that headlines move by a known rule."""

from flag_kedro.data.simulated.config import MarketRule, SimulatedConfig
from flag_kedro.data.simulated.market import CALENDAR, DEFAULT_SYMBOLS, SimulatedMarket, simulate_market
from flag_kedro.data.simulated.news import AFTER_CLOSE
from flag_kedro.data.simulated.prices import YEAR_SESSIONS, garch_noise

__all__ = [
    "AFTER_CLOSE",
    "CALENDAR",
    "DEFAULT_SYMBOLS",
    "YEAR_SESSIONS",
    "MarketRule",
    "SimulatedConfig",
    "SimulatedMarket",
    "garch_noise",
    "simulate_market",
]
