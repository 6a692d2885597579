"""Scale-free indicators of past prices, by TA-Lib.

Each value at session d uses prices up to d only. Levels never appear, since back-adjusted levels reveal
later splits and dividends; returns and ratios are the same under any adjustment factor.
"""

from typing import Literal

import polars as pl
import talib

WARM_UP = 60
"""Sessions up to the first complete row, itself included; MACD's 34 and the 60-session range need no more."""
WarmUp = Literal["full", "partial"]
"""Whether a row before that is left out, or holds those indicators that have enough history."""


def adjusted_prices(prices: pl.DataFrame) -> pl.DataFrame:
    """Add `adj_open`, `adj_high`, `adj_low`, `adj_volume`, null where the source has none.

    Prices are multiplied by adj_close / close, volume is divided by it, so that money traded stays what it was.
    """
    factor = pl.col("adj_close") / pl.col("close")
    return prices.with_columns(
        *((pl.col(name) * factor).alias(f"adj_{name}") for name in ("open", "high", "low")),
        (pl.col("volume") / factor).alias("adj_volume"),
    )


def num_unseen(warm_up: WarmUp) -> int:
    """Sessions of a symbol before its first state."""
    return WARM_UP - 1 if warm_up == "full" else 0


def compute_indicators(prices: pl.DataFrame, warm_up: WarmUp = "full") -> pl.DataFrame:
    """Indicators of one symbol, one row per session; from row 59 on the same under every `warm_up`.

    Args:
        prices: one symbol's rows of the prices table, ascending in session.
        warm_up: `full` leaves the first 59 rows empty (null); under `partial` they hold what has enough history: a
            return of k sessions from row k on, `volatility_20` from row 20, `volume_ratio` from 19, `rsi_14` from 14
            (once a close differs from the first), `macd` from 33. `range_60` has its first value in row 59.

    Returns:
        `session`; `return_1`, `return_5`, `return_20` and `volatility_20` as decimals; `rsi_14` in
        [0, 100]; `macd` (12, 26, 9 histogram / price) as a decimal; `range_60`, the close's place between
        the lowest and highest of 60 closes, in [0, 1], and 0.5 where all are equal; `volume_ratio`, of adjusted
        volume, to its 20-session mean, null without volume. A close that never moved has an RSI of 50.
    """
    close = prices["adj_close"]
    returns = talib.ROCP(close, 1)
    highest, lowest = (extreme(close, WARM_UP).fill_nan(None) for extreme in (talib.MAX, talib.MIN))
    volume = prices["volume"] / (close / prices["close"])  # as adjusted_prices has it, so that a split is no surge
    table = pl.DataFrame(
        {
            "session": prices["session"],
            "return_1": returns,
            "return_5": talib.ROCP(close, 5),
            "return_20": talib.ROCP(close, 20),
            "volatility_20": returns.rolling_std(20),
            "rsi_14": talib.RSI(close, 14),
            "macd": talib.MACD(close, 12, 26, 9)[2] / close,
            "range_60": pl.select(
                pl.when(highest > lowest).then((close - lowest) / (highest - lowest)).when(highest == lowest).then(0.5)
            ).to_series(),
            "volume_ratio": volume / volume.rolling_mean(20),
        }
    )
    complete = pl.int_range(pl.len()) >= WARM_UP - 1
    indicators = pl.exclude("session")
    has_moved = close.cum_max() > close.cum_min()  # before, RSI is 0 / 0, of which TA-Lib makes 0
    table = table.with_columns(pl.when(has_moved).then("rsi_14").when(complete).then(50.0).alias("rsi_14"))
    if warm_up == "full":
        return table.with_columns(pl.when(complete).then(indicators.fill_nan(None)))
    return table.with_columns(indicators.fill_nan(None))
